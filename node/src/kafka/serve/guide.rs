//! `docs/kafka-api.md`: which of Kafka's requests are served, in which versions, and why not the others.
//!
//! Made from what the code serves ([`Api`]) and what Apache Kafka has (`tables`), so that it cannot say more than is true.

use std::fmt::Write;

use super::Api;
use crate::kafka::tables::KAFKA;

/// The command that writes the page.
const COMMAND: &str = "cargo run --release -p node --example kafka_api > docs/kafka-api.md";

const GROUPS: &str = "consumer groups of KIP-848 are not there yet; classic ones are";
const TRANSACTIONS: &str = "transactions are not there yet";
const SECURITY: &str = "there is no authentication and there are no access rules yet";
const ONE_DIRECTORY: &str = "a node has one data directory";
const NO_CONTROLLER: &str =
    "there is no controller and no quorum of controllers: every partition has its own";
const SHARE: &str = "share groups are not there";
const STREAMS: &str = "streams groups are not there";
const TELEMETRY: &str = "clients' metrics are not collected";

/// The page.
pub fn guide() -> String {
    let mut out = format!(
        "# Kafka's protocol here\n\nWritten by `{COMMAND}`; a test fails when it is not what the code says. Compared with \
         Apache Kafka 4.3.1.\n\n## Served\n\n| key | API | versions | Kafka's | what to know |\n|---|---|---|---|---|\n"
    );
    for api in Api::ALL {
        let (first, last) = api.versions();
        let kafka = KAFKA.iter().find(|(key, ..)| *key == api.key());
        let kafka = kafka.map_or(String::new(), |(_, _, first, last)| versions(*first, *last));
        let served = versions(first, last);
        let _infallible =
            writeln!(out, "| {} | {} | {served} | {kafka} | {} |", api.key(), api.name(), note(api));
    }
    out.push_str(
        "\nEvery node serves every request; what only a partition's leader may answer is answered elsewhere with\n\
         NOT_LEADER_OR_FOLLOWER and the leader's address (KIP-951, from Produce 10 and Fetch 16 on). Throttle times are those of quotas.\n\n\
         ## Not served\n\n| key | API | Kafka's | why |\n|---|---|---|---|\n",
    );
    for (key, name, first, last) in KAFKA.iter().filter(|(key, ..)| Api::of(*key).is_none()) {
        let why = absence(*key);
        let _infallible = writeln!(out, "| {key} | {name} | {} | {why} |", versions(*first, *last));
    }
    out
}

fn versions(first: i16, last: i16) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// What is not as in Kafka, and what a reader of the table may ask himself.
fn note(api: Api) -> &'static str {
    match api {
        Api::Produce => {
            "Advertised from 0, without which older librdkafka turns compression off (KAFKA-18659); 0-2 close the connection. \
             One batch of magic 2 for each partition. Transactional ids are refused."
        }
        Api::Fetch => {
            "Incremental sessions (KIP-227): 1,000 of at most 32 MiB together. A client that says its rack (11 and later) is sent to a replica in that zone (KIP-392). \
             The diverging epoch is told to whoever sends the last fetched one (KIP-595)."
        }
        Api::ListOffsets => {
            "11 has the bytes of 10. By timestamp exact to the record, also inside of compressed batches, of which 64 MiB are \
             unpacked for one response; beyond that the offset is the batch's first. -4 is the earliest, -5 and -6 are nothing, for there \
             is no remote storage."
        }
        Api::Metadata => {
            "The controller is the node that was asked. No authorized operations. Topics by id from 10 on, as Kafka from 12."
        }
        Api::FindCoordinator => {
            "The first question creates `__consumer_offsets`. Of transactions COORDINATOR_NOT_AVAILABLE, and why; share groups are refused."
        }
        Api::OffsetCommit => {
            "Acknowledged when a majority has it on disk. 10, by topic ids, is not served yet."
        }
        Api::OffsetFetch => {
            "Only what is committed, read linearizably: no coordinator of the past answers. 10, by topic ids, is not served yet."
        }
        Api::JoinGroup => "Classic groups, dynamic and static members, any protocol type.",
        Api::Heartbeat | Api::LeaveGroup => "",
        Api::SyncGroup => "Members learn their share once the whole assignment is on a majority's disks.",
        Api::DescribeGroups => "No authorized operations.",
        Api::ListGroups => {
            "The groups that the asked node coordinates, as in Kafka. All are of type classic."
        }
        Api::DeleteGroups => "Answered when the tombstones are on a majority's disks.",
        Api::OffsetDelete => "The same.",
        Api::ApiVersions => "An unknown version is answered in version 0 (KIP-511). No features are told.",
        Api::CreateTopics => "Answered when all partitions are led.",
        Api::DeleteTopics => "Answered when the deletion is committed; data goes afterwards.",
        Api::DeleteRecords => {
            "Answered when the new log start is committed by a majority. Also for offsets inside of a batch, whose bytes stay."
        }
        Api::InitProducerId => {
            "For idempotent producers. 6 is marked unstable by Kafka. A producer that brings its id gets a new one."
        }
        Api::OffsetForLeaderEpoch => "The end of the newest epoch is the high watermark.",
        Api::DescribeConfigs => {
            "Topics, the node that is asked, and without a name what is set for all nodes."
        }
        Api::AlterConfigs => "What is not named is unset. Otherwise as IncrementalAlterConfigs.",
        Api::IncrementalAlterConfigs => {
            "Topics, any node, and without a name all nodes. Answered when committed and in force on the node that is asked; the others \
             follow within moments. Which keys there are: [configuration.md](configuration.md#a-topic). No loggers."
        }
        Api::DescribeClientQuotas => "Of users and client ids.",
        Api::AlterClientQuotas => {
            "producer_byte_rate, consumer_byte_rate and request_percentage (of one thread), for users, client ids and pairs of them, \
             each with a default; on each node. None by IP address."
        }
        Api::ListConfigResources => "Topics and nodes; of other kinds there are none.",
        Api::DescribeLogDirs => {
            "The one data directory. Sizes are those of live entries; the volume's size is told as unknown. 5 only adds cordoned \
             directories, which are not there."
        }
        Api::CreatePartitions => "Answered when all partitions are led. As many replicas as partition 0 has.",
        Api::ElectLeaders => {
            "Preferred elections hand over to a replica in sync. There is no unclean election: a partition without a leader \
             answers ELIGIBLE_LEADERS_NOT_AVAILABLE."
        }
        Api::AlterPartitionReassignments => {
            "Answered when the plan is committed. New replicas learn first; when all of them have the log, the old ones leave, and from then \
             on it cannot be cancelled. From one replica to two is refused. Bounded by --rebuild-mib-s, not by Kafka's throttle settings."
        }
        Api::ListPartitionReassignments => "The moves of the mesh's own are listed as well.",
        Api::DescribeCluster => "Brokers only: there are no controllers. No authorized operations.",
        Api::DescribeTopicPartitions => {
            "At most 2,000 partitions in one answer. Eligible leader replicas are always empty: a majority has everything."
        }
    }
}

/// Why an API is not served.
fn absence(key: i16) -> &'static str {
    match key {
        68 | 69 => GROUPS,
        24..=28 | 61 | 65 | 66 => TRANSACTIONS,
        17 | 29..=31 | 36 | 38..=41 | 50 | 51 => SECURITY,
        34 => ONE_DIRECTORY,
        55 | 57 | 64 | 80 | 81 => NO_CONTROLLER,
        71 | 72 => TELEMETRY,
        76..=79 | 83..=87 | 90..=92 => SHARE,
        88 | 89 => STREAMS,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kafka-api.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == guide(), "docs/kafka-api.md is stale; write it again with: {COMMAND}");
    }

    #[test]
    fn every_api_of_kafka_is_served_or_has_its_reason() {
        for (key, name, first, last) in KAFKA {
            match Api::of(*key) {
                None => assert!(!absence(*key).is_empty(), "{name}"),
                Some(api) => {
                    let (own_first, own_last) = api.versions();
                    assert_eq!((api.name(), own_first), (*name, *first));
                    assert!(own_last <= *last, "{name} {own_last}");
                    let explained = note(api).contains(&(own_last + 1).to_string());
                    assert!(own_last == *last || explained, "{name}: why not {last}?");
                }
            }
        }
        assert!(Api::ALL.iter().all(|api| KAFKA.iter().any(|(key, ..)| *key == api.key())));
    }
}
