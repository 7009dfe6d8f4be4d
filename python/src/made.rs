//! What the constructor of an index was given, and how it is written.

use counterpoint_core::metric::Metric;
use counterpoint_core::vectors::Keep;
use counterpoint_lorann as lorann;
use counterpoint_symphony_qg as symphony_qg;
use counterpoint_turboquant as turboquant;

/// What the constructor of an index was given besides the metric.
#[derive(Clone, Copy)]
pub(crate) enum Made {
    Flat,
    Lorann(lorann::Parameters),
    Lvq { primary: usize, keep: Keep },
    SymphonyQg(symphony_qg::Parameters),
    TurboQuant(turboquant::Parameters),
}

impl Made {
    /// The call that makes such an index.
    pub(crate) fn written(self, metric: Metric) -> String {
        let metric = metric.name();
        match self {
            Made::Flat => format!("Flat({metric:?})"),
            Made::Lorann(parameters) => {
                let lorann::Parameters { clusters, rank, global_dim, bits, balanced, keep, seed } =
                    parameters;
                let optional =
                    |value: Option<usize>| value.map_or("None".to_owned(), |value| value.to_string());
                format!(
                    "LoRANN({metric:?}, n_clusters={}, rank={rank}, global_dim={}, bits={}, balanced={}, \
                     keep={:?}, seed={seed})",
                    optional(clusters),
                    optional(global_dim),
                    bits.width(),
                    if balanced { "True" } else { "False" },
                    keep.name()
                )
            }
            Made::Lvq { primary, keep } => {
                format!("LVQ({metric:?}, primary={primary}, keep={:?})", keep.name())
            }
            Made::SymphonyQg(symphony_qg::Parameters { degree, ef_construction, keep, seed }) => format!(
                "SymphonyQG({metric:?}, degree={degree}, ef_construction={ef_construction}, keep={:?}, seed={seed})",
                keep.name()
            ),
            Made::TurboQuant(turboquant::Parameters { bits, allocation, center, keep, seed }) => format!(
                "TurboQuant({metric:?}, bits={bits}, allocation={:?}, center={:?}, keep={:?}, seed={seed})",
                allocation.name(),
                center.name(),
                keep.name()
            ),
        }
    }
}
