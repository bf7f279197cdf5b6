//! A node's number has one life at a time, and none comes back once another one followed it.

use super::{Check, First, Ledger, Verdict, violated};

const NAME: &str = "a life is over for good";

/// Asks the registry, fed with what was committed.
pub(super) struct Lives;

impl Check for Lives {
    fn first(&mut self, ledger: &Ledger, first: &First) -> Verdict {
        match ledger.descriptors.revived().filter(|_| ledger.key(first.group).as_shard().is_some()) {
            Some(node) => {
                violated(NAME, format!("node {} lives in a directory that another one followed", node.0))
            }
            None => Ok(()),
        }
    }
}
