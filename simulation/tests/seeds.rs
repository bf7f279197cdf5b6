//! Seeds that showed a bug when they were first run, and must stay clean. A change of the swarm or of the code shifts what happens
//! in a seed, so they stand for their scenarios rather than replay their bugs to the letter.

use simulation::{Kind, Options, run};

fn clean(seed: u64) {
    clean_in(Kind::default(), seed);
}

/// In the scenario in which nodes come and go.
fn clean_in_churn(seed: u64) {
    clean_in("churn".parse().expect("a scenario"), seed);
}

fn clean_in(kind: Kind, seed: u64) {
    let outcome = run(seed, Options { kind, ..Options::default() });
    let failure = outcome.failure.map(|failure| format!("{}: {}", failure.check, failure.what));
    assert_eq!(failure, None, "seed {seed}: {}", outcome.scenario);
    let virtual_minutes = outcome.stats.virtual_us / 60_000_000;
    assert!(virtual_minutes >= 2, "seed {seed} ran {virtual_minutes} virtual minutes");
    assert!(outcome.stats.operations > 20 * outcome.stats.virtual_us / 1_000_000, "seed {seed} is idle");
    assert!(outcome.stats.faults >= virtual_minutes, "seed {seed} is calm");
}

/// Rot that an earlier opening had told made replaced replicas suspect again, and took the majority.
#[test]
fn rot_is_told_once() {
    clean(7);
}

/// A frame that fails its CRC at a read left a replica that neither served nor was replaced.
#[test]
fn a_log_that_cannot_be_read_is_replaced() {
    clean(29);
}

/// A reset's checkpoint may be ahead of a kept suffix, of which anything may be stale.
#[test]
fn a_reset_may_be_ahead_of_the_suffix() {
    clean(30);
}

/// A fetch that read the disk answered with a high watermark below what others had been told.
#[test]
fn a_late_answer_says_no_less_than_earlier_ones() {
    clean(2);
    clean(85);
}

/// A new leader told a log start before it had applied the last one.
#[test]
fn a_new_leader_knows_its_log_start_first() {
    clean(198);
}

/// A wiped node began with the boot number it had before, and its heartbeats were taken for old ones.
#[test]
fn a_wiped_node_is_heard() {
    clean(129);
    clean(174);
}

/// A replica built anew after a refused write took for durable what was still on its way.
#[test]
fn a_rebuilt_replica_promises_only_what_is_synced() {
    clean(17_952_675_781_941);
}

/// Rot cut off the frame that had created a replica, and it was created again, empty.
#[test]
fn rot_ends_the_life_of_a_directory() {
    clean(31_349);
}

/// A damaged log that was kept as a head start had an older membership than its entries.
#[test]
fn a_damaged_log_knows_its_memberships() {
    clean(790);
}

/// A late heartbeat of an earlier life silenced the present one.
#[test]
fn a_late_heartbeat_silences_nobody() {
    clean(71_989);
}

/// A slow shard drowned in commands that were sent again while they waited.
#[test]
fn a_command_under_way_is_proposed_once() {
    clean(5_338);
}

/// Topics named lives of nodes that were over, and could never be created.
#[test]
fn a_topic_that_cannot_be_created_is_abandoned() {
    clean(40_279);
    clean(53_291);
}

/// A lone node that restarted with an old view never learned what its own shards had committed.
#[test]
fn a_lone_node_catches_up_with_itself() {
    clean(217);
}

/// A power cut kept the create frame of a log and not the hard state after it, and the node did not open any more.
#[test]
fn half_a_create_is_none() {
    clean(17_952_819_570_179);
}

/// A misdirected write was the last round of a log: a commit without bytes was counted as the round after it.
#[test]
fn a_later_round_follows_a_misdirected_one() {
    clean(17_952_822_904_655);
}

/// A misdirected write showed after a topic was made without one of its three: with two of three gone no majority is left.
#[test]
fn damage_shows_while_all_else_is_well() {
    clean(17_952_822_905_338);
}

/// With acks=1 a deposed leader acknowledged what the next leader had taken again, elsewhere.
#[test]
fn an_acknowledgement_by_one_may_be_of_the_past() {
    clean(17_952_867_920_647);
}

/// A request overtook those that had waited for a paused process, on its own connection.
#[test]
fn a_process_that_goes_on_takes_requests_in_their_order() {
    clean(17_952_979_080_652);
}

/// A node whose disk was wiped planned a topic on lives that were over, its own among them.
#[test]
fn topics_are_planned_on_lives_that_are() {
    clean(1_223);
}

/// A second node was damaged before the registry knew the new life of the first: a topic was planned on both lives that were over.
#[test]
fn damage_waits_until_the_registry_knows_the_last() {
    clean(17_952_979_082_981);
}

/// A deleted topic lived on for a moment at nodes that had not heard of it, and was judged as if it were there.
#[test]
fn nothing_is_promised_of_a_deleted_topic() {
    clean(17_952_791_793_766);
}

/// The only replica committed a batch, acknowledged it and was deleted with its topic, all in one step: nobody saw the commit.
#[test]
fn what_is_deleted_in_the_step_of_its_commit_is_not_missed() {
    clean(17_953_150_230_767);
}

/// A restarted node began a replica by its old view again, under a triple whose data had moved away and was deleted: it voted twice.
#[test]
fn a_triple_that_moved_away_does_not_begin_again() {
    clean_in_churn(17_953_067_760_001);
    clean_in_churn(17_953_067_760_079);
}

/// A restarted founder founded its shards again, empty, for the last of them had moved away.
#[test]
fn shards_that_moved_away_are_not_founded_again() {
    clean_in_churn(17_953_067_760_102);
    clean_in_churn(17_953_067_760_123);
}

/// A new leader took the membership of long ago for the committed one, and had a voter's data deleted.
#[test]
fn who_left_is_told_by_a_leader_that_knows_what_is_committed() {
    clean_in_churn(17_953_077_010_006);
}

/// Shard 0 was on nodes that its other replica had not heard of, and neither took the other's messages.
#[test]
fn nodes_that_a_replica_set_counts_on_are_heard() {
    clean_in_churn(17_953_062_310_026);
    clean_in_churn(17_953_090_620_197);
}

/// A node's own look at its health used up the word that another one was down, and a quiet replica set never heard of it.
#[test]
fn whoever_asks_the_failure_detector_passes_on_what_it_says() {
    clean(17_953_173_740_203);
}

/// A leader that left asked for quiet with its last breath, and the word to the next one was lost.
#[test]
fn only_an_idle_leader_asks_for_quiet() {
    clean(17_953_177_820_057);
}

/// Rot took the frames that cut off a log's end and replaced it: what came after them seemed to join the old end, and the head start that
/// the replica's successor got was a log that never was.
#[test]
fn what_rot_may_have_cut_off_is_no_head_start() {
    clean(17);
}

/// A leader brought back by an old descriptor who had left.
#[test]
fn an_old_descriptor_moves_nothing() {
    clean(17_953_102_270_114);
}

/// A limit in bytes that was set for all nodes took the older offsets of consumer groups, whose topic is compacted and not deleted from.
#[test]
fn retention_takes_nothing_of_the_offsets_topic() {
    clean_in("groups".parse().expect("a scenario"), 7_020);
}

/// A leader that sets the time of the append changes the header that its CRC covers, and nothing that the client made.
#[test]
fn the_time_of_an_append_is_no_other_batch() {
    clean_in("groups".parse().expect("a scenario"), 5_004);
}

/// A replica was created in a directory that held rot, which the next start found: its life was over, and the replica with it.
#[test]
fn what_was_created_over_rot_goes_with_the_life_of_the_directory() {
    clean(9_014);
}

/// A new life of a directory shared nothing with anybody, was in nobody's SWIM before it was registered, and so held everyone for down whom
/// it had to ask for that.
#[test]
fn a_life_that_is_not_registered_asks_whom_it_was_told_of() {
    clean(9_032);
}

/// Who hands out grants forgot a learner that waited for one, for its leader had just begun and did not know what was committed; the leader
/// asked once, and the learner got nothing for good.
#[test]
fn a_learner_that_waits_for_a_grant_is_not_forgotten() {
    clean_in("churn".parse().expect("a scenario"), 100_106);
}

/// What a node said of a replica came out after it had given the replica up in the same step, and counted as a promise.
#[test]
fn what_was_said_of_a_replica_before_it_was_given_up_promises_nothing() {
    clean(17_960_853_950_416);
}

/// A machine whose directory was lost asked through a member that did not know yet who has its address, and was refused for good.
#[test]
fn a_member_that_does_not_know_yet_turns_nobody_away() {
    clean(618);
    clean(1145);
}

/// A newcomer was told that its leader's node is down, read an old membership without that node, and was not told that it is up again: it
/// answered that leader no more.
#[test]
fn a_newcomer_hears_that_its_leader_is_back() {
    clean_in_churn(200_194);
}

/// A leader of shard 0 was cut off, called a node dead that nobody of the majority missed, and handed that order to the leader who followed it.
#[test]
fn a_leader_that_was_replaced_calls_nobody_dead() {
    clean_in_churn(302_258);
}
