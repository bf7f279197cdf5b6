//! What is wrong with a mesh and what to do: [`look`] once, or [`examine`] it twice so that what passes by itself is not told.
//!
//! Every node that can be learned of is asked over HTTP and Kafka, all at the same time; nobody is waited for longer than four
//! seconds. Nodes are learned of from the one at [`Mesh::http_address`] and from those at [`Mesh::addresses`]. Nothing is
//! changed anywhere.
//!
//! ```no_run
//! use rafka::doctor::{self, Severity};
//!
//! let mesh = rafka::Mesh::at("10.0.0.1:9092,10.0.0.2:9092");
//! let diagnosis = doctor::examine(&mesh);
//! println!("{}", diagnosis.looked_at);
//! for finding in &diagnosis.findings {
//!     println!("{}: {} Do: {}", finding.severity, finding.what, finding.advice);
//! }
//! assert!(diagnosis.worst() != Some(Severity::Critical));
//! ```

// `collect` asks (`ask` is one question), `facts` is what came of it, `rules` are pure functions from that to findings.
mod ask;
mod collect;
mod facts;
mod finding;
#[cfg(test)]
mod fixtures;
mod looked;
mod rules;

pub use finding::{Finding, Severity};
pub use looked::LookedAt;
pub use rules::KINDS;

use crate::clock;
use crate::mesh::Mesh;
use std::time::Duration;

/// Between two looks: longer than an election or a dropped heartbeat takes.
const AGAIN: Duration = Duration::from_millis(1_500);

/// What came of looking at a mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The cluster that was looked at, which is that of the first address that answered; empty when none did.
    pub cluster_id: String,
    /// How much was seen.
    pub looked_at: LookedAt,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// How bad the worst finding is; none when there is no finding. Notes are nothing bad.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).min()
    }

    /// Whether nothing is wrong; there may be notes.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }

    /// Whether something was found that a second look may not see any more.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.looked_at.nodes > 0 && !self.is_healthy()
    }

    /// Looks again 1.5 s later, and keeps what both looks saw.
    #[must_use]
    pub fn confirm(&self, mesh: &Mesh) -> Diagnosis {
        let until = clock::now() + AGAIN;
        while clock::now() < until {
            clock::pause(until.saturating_duration_since(clock::now()));
        }
        let mut second = look(mesh);
        second.findings.retain(|finding| self.findings.iter().any(|before| before.is_same(finding)));
        second
    }
}

/// Looks once. A leader that just moves is told as missing.
#[must_use]
pub fn look(mesh: &Mesh) -> Diagnosis {
    let facts = collect::look(mesh);
    Diagnosis {
        cluster_id: facts.cluster_id.clone(),
        looked_at: LookedAt::from(&facts),
        findings: rules::diagnose(&facts),
    }
}

/// Looks, and looks again 1.5 s later if something was wrong: told is what stood.
#[must_use]
pub fn examine(mesh: &Mesh) -> Diagnosis {
    let first = look(mesh);
    if first.may_pass() { first.confirm(mesh) } else { first }
}
