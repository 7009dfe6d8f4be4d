//! What the constructor of an index was given, and how it is written.

use counterpoint_core::metric::Metric;
use counterpoint_core::vectors::Keep;
use counterpoint_lorann as lorann;
use counterpoint_lvq as lvq;
use counterpoint_lvq::Levels;
use counterpoint_pq as pq;
use counterpoint_rvq as rvq;
use counterpoint_symphony_qg as symphony_qg;
use counterpoint_turboquant as turboquant;

/// What the constructor of an index was given besides the metric.
#[derive(Clone, Copy)]
pub(crate) enum Made {
    Flat,
    Lorann(lorann::Parameters),
    Lvq { levels: Levels, keep: Keep },
    LvqGraph(lvq::graph::Parameters),
    Pq(pq::Parameters),
    Rvq(rvq::Parameters),
    SymphonyQg(symphony_qg::Parameters),
    TurboQuant(turboquant::Parameters),
}

/// The arguments that say what an LVQ index stores of a vector.
fn lvq_codes(levels: Levels, keep: Keep) -> String {
    let residual = levels.residual().map_or(0, |bits| bits.width());
    let residual = if residual > 0 { format!(", residual={residual}") } else { String::new() };
    format!("primary={}{residual}, keep={:?}", levels.primary().width(), keep.name())
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
            Made::Lvq { levels, keep } => format!("LVQ({metric:?}, {})", lvq_codes(levels, keep)),
            Made::LvqGraph(parameters) => {
                let lvq::graph::Parameters { levels, keep, degree, ef_construction, seed } = parameters;
                format!(
                    "LVQ({metric:?}, {}, structure=\"graph\", degree={degree}, \
                     ef_construction={ef_construction}, seed={seed})",
                    lvq_codes(levels, keep)
                )
            }
            Made::Pq(pq::Parameters { subspaces, bits, keep, seed }) => {
                let subspaces = subspaces.map_or("None".to_owned(), |value| value.to_string());
                let (bits, keep) = (bits.width(), keep.name());
                format!("PQ({metric:?}, subspaces={subspaces}, bits={bits}, keep={keep:?}, seed={seed})")
            }
            Made::Rvq(rvq::Parameters { stages, bits, beam, structure, keep, seed }) => {
                let (bits, keep) = (bits.width(), keep.name());
                let lists = match structure {
                    rvq::Structure::Flat => String::new(),
                    rvq::Structure::Ivf { n_lists } => {
                        let n_lists = n_lists.map_or("None".to_owned(), |value| value.to_string());
                        format!("structure=\"ivf\", n_lists={n_lists}, ")
                    }
                };
                format!(
                    "RVQ({metric:?}, stages={stages}, bits={bits}, beam={beam}, {lists}keep={keep:?}, seed={seed})"
                )
            }
            Made::SymphonyQg(symphony_qg::Parameters { degree, ef_construction, keep, edge_codes, seed }) => {
                let (keep, codes) = (keep.name(), edge_codes.name());
                format!(
                    "SymphonyQG({metric:?}, degree={degree}, ef_construction={ef_construction}, \
                     keep={keep:?}, seed={seed}, edge_codes={codes:?})"
                )
            }
            Made::TurboQuant(turboquant::Parameters { bits, allocation, center, keep, seed }) => format!(
                "TurboQuant({metric:?}, bits={bits}, allocation={:?}, center={:?}, keep={:?}, seed={seed})",
                allocation.name(),
                center.name(),
                keep.name()
            ),
        }
    }
}
