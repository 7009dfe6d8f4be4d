//! What the constructor of an index was given, and how it is written.

use counterpoint_core::metric::Metric;
use counterpoint_core::vectors::Keep;
use counterpoint_turboquant::Parameters;

/// What the constructor of an index was given besides the metric.
#[derive(Clone, Copy)]
pub(crate) enum Made {
    Flat,
    Lvq { primary: usize, keep: Keep },
    TurboQuant(Parameters),
}

impl Made {
    /// The call that makes such an index.
    pub(crate) fn written(self, metric: Metric) -> String {
        let metric = metric.name();
        match self {
            Made::Flat => format!("Flat({metric:?})"),
            Made::Lvq { primary, keep } => {
                format!("LVQ({metric:?}, primary={primary}, keep={:?})", keep.name())
            }
            Made::TurboQuant(Parameters { bits, allocation, center, keep, seed }) => format!(
                "TurboQuant({metric:?}, bits={bits}, allocation={:?}, center={:?}, keep={:?}, seed={seed})",
                allocation.name(),
                center.name(),
                keep.name()
            ),
        }
    }
}
