//! What was learned, at work on rows.

use counterpoint_core::metric::Metric;
use counterpoint_core::simd::GROUP;
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, Kept, RowSource};

use crate::beam::Scratch;
use crate::codebooks::{Panels, Ready};
use crate::parameters::Parameters;
use crate::quantizer::Quantizer;
use crate::space::Batch;
use crate::tables::Tables;

/// Groups that one item of parallel work encodes.
const PART: usize = 8;

/// What was learned, shared by stores that are encoded aside.
pub(crate) struct Learned {
    pub(crate) quantizer: Quantizer,
    /// The codewords in panels.
    panels: Panels,
}

/// What encoding finds of a row.
pub(crate) struct Found<'a> {
    /// The row's place in its group of 64.
    pub(crate) r: usize,
    /// 0 where rows do not lie in lists.
    pub(crate) list: u32,
    /// One byte a stage.
    pub(crate) codes: &'a [u8],
    pub(crate) level: u8,
}

impl Learned {
    pub(crate) fn new(quantizer: Quantizer) -> Self {
        let panels = Panels::new(quantizer.codebooks.words(), false);
        Self { quantizer, panels }
    }

    /// What makes tables of as many stages as there are, or of the first `stages` of them.
    pub(crate) fn tables(&self, metric: Metric, bits: Bits, stages: Option<usize>) -> Tables<'_> {
        let all = self.quantizer.stages();
        let stages = stages.map_or(all, |stages| stages.min(all));
        Tables { quantizer: &self.quantizer, panels: &self.panels, metric, bits, stages }
    }

    /// Encodes rows, 64 into each of `groups`, and gives those that are kept.
    pub(crate) fn encode<G: Send>(
        &self,
        rows: &dyn RowSource,
        metric: Metric,
        parameters: &Parameters,
        groups: impl Iterator<Item = G> + Send,
        write: impl Fn(&mut G, Found<'_>) + Sync,
        control: &Control,
    ) -> Result<Kept, InputError> {
        control.expect(rows.len());
        let quantizer = &self.quantizer;
        let mut kept = Kept::zeroed(parameters.keep, rows.len(), rows.dim());
        let ready = Ready::new(&quantizer.codebooks, control)?;
        let parts = (0..rows.len()).step_by(GROUP).zip(groups).zip(kept.chunks_mut(GROUP));
        let mut parts = parts.peekable();
        let parts = std::iter::from_fn(move || {
            parts.peek()?;
            Some(parts.by_ref().take(PART).collect::<Vec<_>>())
        });
        control.for_each(parts, |groups| {
            let mut scratch = Scratch::default();
            for ((first, mut group), mut kept) in groups {
                control.check()?;
                let mut batch = Batch::new(&quantizer.space);
                for row in first..rows.len().min(first + GROUP) {
                    batch.read(rows, row, metric, &mut kept)?;
                }
                let each = |found: Found<'_>| write(&mut group, found);
                quantizer.encode(&ready, parameters.beam, &mut batch, &mut scratch, control, each);
                control.advance(batch.count);
            }
            Ok::<_, InputError>(())
        })?;
        Ok(kept)
    }
}
