//! Searches of the first stages alone.
//!
//! Of s stages, r̂ₛ is what is known and t = r̂ − r̂ₛ what is not looked at. Their distance has another C ([`super::norms`]),
//! with ‖x − x̂ₛ‖² in the place of ‖e‖²: that is ‖t‖² + ‖e‖² + 2⟨t, e⟩, of which the last is nothing in the mean where codewords
//! are the means of what they stand for. The byte of a row says C of all stages, so
//!
//! > Cₛ = ‖r̂ₛ‖² + 2⟨c, r̂ₛ⟩ + [`SHARE`]·‖t‖² + C − ‖r̂‖² − 2⟨c, r̂⟩.
//!
//! It takes decoding every row once; what the last call worked out is kept, 4 bytes a row, until rows change.

use std::sync::{Arc, Mutex};

use counterpoint_core::metric::Metric;
use counterpoint_core::simd::{GROUP, Simd, Work, lookups, run};
use counterpoint_core::threads::{Cancelled, Control};

use crate::groups::Groups;
use crate::norms::SHARE;
use crate::tables::Tables;

/// (w/2)·Cₛ of every place of every group, for the s that was asked for last.
#[derive(Default)]
pub(crate) struct Prefixes(Mutex<Option<(usize, Arc<Vec<f32>>)>>);

impl Clone for Prefixes {
    /// Empty: rows may come and go there.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Prefixes {
    /// Forgets: rows have changed.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Those of the stages that `tables` looks at; none where these are all, or rows have no terms (ip). `list` says
    /// which list a group's rows are in.
    pub(crate) fn of(
        &self,
        tables: &Tables<'_>,
        groups: &Groups,
        list: impl Fn(usize) -> u32 + Sync,
        control: &Control,
    ) -> Result<Option<Arc<Vec<f32>>>, Cancelled> {
        let stages = tables.stages;
        if stages == tables.quantizer.stages() || tables.metric == Metric::Ip {
            return Ok(None);
        }
        let kept = |held: &Option<(usize, Arc<Vec<f32>>)>| {
            held.as_ref().filter(|(of, _)| *of == stages).map(|(_, terms)| Arc::clone(terms))
        };
        let lock = || self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(terms) = kept(&lock()) {
            return Ok(Some(terms));
        }
        let mut terms = vec![0.0; groups.len() * GROUP];
        const PART: usize = 16;
        control.for_each(terms.chunks_mut(PART * GROUP).enumerate(), |(part, terms)| {
            for (g, terms) in terms.chunks_mut(GROUP).enumerate() {
                let group = part * PART + g;
                let (codes, levels) = (groups.group(group), groups.levels(group));
                run(control.level(), Terms { tables, codes, levels, list: list(group), terms });
            }
            Ok::<_, Cancelled>(())
        })?;
        let terms = Arc::new(terms);
        *lock() = Some((stages, Arc::clone(&terms)));
        Ok(Some(terms))
    }
}

/// Works out those of one group.
struct Terms<'a> {
    tables: &'a Tables<'a>,
    /// Of all stages.
    codes: &'a [u8],
    levels: &'a [u8],
    list: u32,
    terms: &'a mut [f32],
}

impl Work for Terms<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { tables, codes: group, levels, list, terms } = self;
        let Tables { quantizer, bits, stages, .. } = *tables;
        let (half, centroid) = (0.5 * tables.weight(), quantizer.centroid(list));
        let mut codes = vec![0; quantizer.stages()];
        let mut known = vec![0.0; quantizer.space.width()];
        let mut whole = known.clone();
        for (r, (term, &level)) in terms.iter_mut().zip(levels).enumerate() {
            lookups::read_row(bits, group, r, &mut codes);
            known.fill(0.0);
            quantizer.codebooks.add(&codes[..stages], &mut known);
            whole.copy_from_slice(&known);
            for (stage, &code) in codes.iter().enumerate().skip(stages) {
                quantizer.codebooks.add_stage(stage, code, &mut whole);
            }
            let square = |v: &[f32]| simd.dot(v, v) + 2.0 * centroid.map_or(0.0, |c| simd.dot(c, v));
            let own = quantizer.levels.get(usize::from(level)).copied().unwrap_or(0.0) - square(&whole);
            *term = half * (square(&known) + SHARE * simd.squared_l2(&whole, &known) + own);
        }
    }
}
