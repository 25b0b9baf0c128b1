//! Simulated log traffic: a small shop, and what can go wrong in it. Deterministic: a seed and a range of time
//! give the same documents everywhere. `demo`, `simulate` and the tests share it.
//!
//! Everything here is pure but [`inject`], which sends documents to Elasticsearch or the embedded intake.

mod document;
pub mod inject;
mod random;
mod scenario;
mod traffic;

use crate::model::{ServiceName, UtcTime};

pub use document::{Document, Level, bulk_body};
pub use scenario::Scenario;

/// A shop, its traffic, and at most one thing that goes wrong.
#[derive(Debug, Clone)]
pub struct Scene {
    seed: u64,
    volume: u32,
    services: Vec<ServiceName>,
    episode: Option<scenario::Episode>,
}

impl Scene {
    /// Normal traffic of `services` services: 40 to 80 good requests and one to three errors in five minutes
    /// each.
    pub fn normal(seed: u64, services: usize) -> Self {
        Self { seed, volume: 1, services: traffic::services(services), episode: None }
    }

    /// The same with `volume` times the normal traffic.
    #[must_use]
    pub fn with_volume(mut self, volume: u32) -> Self {
        self.volume = volume;
        self
    }

    /// The same with something that goes wrong over `[onset, end)`.
    #[must_use]
    pub fn with(mut self, scenario: Scenario, onset: UtcTime, end: UtcTime) -> Self {
        self.episode = Some(scenario::Episode { scenario, onset, end });
        self
    }

    /// The names of its services.
    pub fn services(&self) -> &[ServiceName] {
        &self.services
    }

    /// What is logged in `[from, to)`, oldest first.
    pub fn documents(&self, from: UtcTime, to: UtcTime) -> Vec<Document> {
        let mut documents = Vec::new();
        for start in traffic::blocks(from, to) {
            for service in &self.services {
                let drafts = traffic::block(self.seed, self.volume, service, start);
                let inside =
                    drafts.into_iter().filter(|draft| (from..to).contains(&draft.document.at));
                match &self.episode {
                    Some(episode) => documents.extend(inside.filter_map(|d| episode.alter(d))),
                    None => documents.extend(inside.map(|draft| draft.document)),
                }
            }
        }
        if let Some(episode) = &self.episode {
            documents.extend(episode.added(self.seed, from, to));
        }
        documents
            .sort_by(|a, b| (a.at, &a.service, &a.trace_id).cmp(&(b.at, &b.service, &b.trace_id)));
        documents
    }
}

#[cfg(test)]
mod tests;
