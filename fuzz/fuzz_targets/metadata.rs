//! Metadata: commands in the log of a shard, its checkpoints, updates from other nodes, a node's copy on disk.

#![no_main]

use libfuzzer_sys::fuzz_target;
use node::core::metadata::{Command, Shard, ShardUpdate, View};

fuzz_target!(|input: &[u8]| {
    _ = Command::decode(input);
    if let Ok(update) = ShardUpdate::decode(input) {
        let mut view = View::default();
        view.merge(update);
        assert_eq!(View::decode(&view.encode()).expect("what is written is read").encode(), view.encode());
    }
    _ = View::decode(input);
    if let Ok(mut shard) = Shard::restore(input) {
        // A checkpoint never says that the last index there can be is applied.
        if let Some(next) = shard.version().checked_add(1) {
            shard.apply(next, input);
        }
    }
});
