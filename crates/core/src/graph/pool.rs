//! Short sorted lists of vertices by distance: the candidates of a search, and its nearest.
//!
//! An entry is one `u64`, by whose order entries are sorted: the distance's bits, turned so that they rise with it, then
//! the vertex, then whether it was popped.

use crate::select::Hit;

/// The most vertices of a graph: one bit of a vertex's number is the pool's.
pub const MAX_VERTICES: usize = 1 << 31;

/// Entries counted at once.
const STEP: usize = 16;

/// The entry of a vertex that has not been popped.
#[inline(always)]
fn entry(hit: Hit) -> u64 {
    let bits = hit.distance.to_bits();
    // Of negative distances all bits are turned, of others the sign.
    let rising = bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 1 << 31);
    u64::from(rising) << 32 | u64::from(hit.row) << 1
}

#[inline(always)]
fn hit(entry: u64) -> Hit {
    let rising = (entry >> 32) as u32;
    let turned = if rising >> 31 == 1 { 1 << 31 } else { u32::MAX };
    Hit { distance: f32::from_bits(rising ^ turned), row: (entry as u32) >> 1 }
}

/// How many of the sorted `entries` are below `new`: by counting, which nothing has to wait for, first in steps.
#[inline(always)]
fn below(entries: &[u64], new: u64) -> usize {
    let (chunks, rest) = entries.as_chunks::<STEP>();
    let mut whole = 0;
    for chunk in chunks {
        whole += usize::from(chunk[STEP - 1] < new);
    }
    let mut place = whole * STEP;
    for &entry in chunks.get(whole).map_or(rest, |chunk| chunk.as_slice()) {
        place += usize::from(entry < new);
    }
    place
}

/// Puts `new` into its place among the sorted `entries`, the last of which falls out where there are `most`. Gives the
/// place, or `None` if that is beyond the end, or taken by the same entry.
#[inline(always)]
fn insert(entries: &mut Vec<u64>, most: usize, new: u64) -> Option<usize> {
    if entries.len() == most && entries.last().is_none_or(|&last| new >= last) {
        return None;
    }
    let place = below(entries, new);
    if entries.get(place) == Some(&new) {
        return None;
    }
    if entries.len() == most {
        entries.pop();
    }
    entries.insert(place, new);
    Some(place)
}

/// The candidates of a search, nearest first, at most `ef` of them, popped ones included.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    entries: Vec<u64>,
    most: usize,
    /// All entries before it were popped.
    next: usize,
}

impl Pool {
    /// Empties the pool; it then holds at most `most` candidates.
    pub fn begin(&mut self, most: usize) {
        self.entries.clear();
        // A huge `ef` is legal; room beyond is made as candidates come.
        self.entries.reserve(most.min(4096));
        self.most = most;
        self.next = 0;
    }

    /// No candidate farther than this can still enter, nor one at this distance by an estimate alone.
    #[inline(always)]
    pub fn bound(&self) -> f32 {
        match self.entries.last() {
            Some(&last) if self.entries.len() >= self.most => hit(last).distance,
            _ => f32::INFINITY,
        }
    }

    /// Offers a candidate. One that waits at the same distance already stays one.
    #[inline(always)]
    pub fn push(&mut self, candidate: Hit) {
        if let Some(place) = insert(&mut self.entries, self.most, entry(candidate)) {
            self.next = self.next.min(place);
        }
    }

    /// The nearest candidate that was not popped, which it is from now on.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Hit> {
        let at = self.next;
        let entry = self.entries.get_mut(at)?;
        *entry |= 1;
        let popped = hit(*entry);
        self.next += 1;
        while self.entries.get(self.next).is_some_and(|entry| entry & 1 == 1) {
            self.next += 1;
        }
        Some(popped)
    }

    /// How many of the nearest candidates were popped, without one between that was not.
    #[inline(always)]
    pub fn done(&self) -> usize {
        self.next
    }

    /// The candidate that [`Pool::pop`] would give.
    #[inline(always)]
    pub fn peek(&self) -> Option<Hit> {
        self.entries.get(self.next).map(|&entry| hit(entry))
    }
}

/// The k nearest of the vertices that were offered, each of which is offered once.
#[derive(Clone, Debug, Default)]
pub struct Nearest {
    entries: Vec<u64>,
    most: usize,
}

impl Nearest {
    /// Empties the list; it then holds at most `k` vertices.
    pub fn begin(&mut self, k: usize) {
        self.entries.clear();
        self.entries.reserve(k.min(4096));
        self.most = k;
    }

    /// Offers a vertex.
    #[inline(always)]
    pub fn push(&mut self, found: Hit) {
        insert(&mut self.entries, self.most, entry(found));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Multiplies all distances by a factor above 0.
    pub fn scale(&mut self, factor: f32) {
        for entry in &mut self.entries {
            let old = hit(*entry);
            *entry = self::entry(Hit { distance: factor * old.distance, ..old });
        }
        // What was apart may have become equal.
        self.entries.sort_unstable();
    }

    /// The nearest, nearest first; among equal distances the lower vertex first.
    pub fn hits(&self) -> impl ExactSizeIterator<Item = Hit> {
        self.entries.iter().map(|&entry| hit(entry))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hits() -> impl Strategy<Value = Vec<Hit>> {
        let hit = (-9..9_i8, 0..MAX_VERTICES as u32);
        let hit = hit.prop_map(|(distance, row)| Hit { distance: f32::from(distance) / 3.0, row });
        prop::collection::vec(hit, 0..100)
    }

    proptest! {
        #[test]
        fn the_nearest_are_those_of_sorting(mut hits in hits(), k in 0_usize..20) {
            let mut nearest = Nearest::default();
            nearest.begin(k);
            hits.iter().for_each(|&hit| nearest.push(hit));
            hits.sort_unstable();
            hits.dedup();
            hits.truncate(k);
            prop_assert_eq!(nearest.hits().collect::<Vec<_>>(), hits);
        }

        /// Against a list that is sorted anew each time.
        #[test]
        fn a_pool_pops_the_nearest_that_was_not(
            steps in prop::collection::vec((any::<bool>(), hits()), 0..8),
            most in 1_usize..30,
        ) {
            let mut pool = Pool::default();
            pool.begin(most);
            let mut model: Vec<(Hit, bool)> = Vec::new();
            for (pop, hits) in steps {
                for hit in hits {
                    pool.push(hit);
                    if model.contains(&(hit, false)) {
                        continue;
                    }
                    if model.len() < most || model.last().is_some_and(|last| hit < last.0) {
                        model.push((hit, false));
                        // A popped twin counts as the farther one, by its last bit.
                        model.sort_unstable_by_key(|&(hit, popped)| (hit, popped));
                        model.truncate(most);
                    }
                    let bound = if model.len() < most { f32::INFINITY } else { model[most - 1].0.distance };
                    prop_assert_eq!(pool.bound(), bound);
                }
                if pop {
                    let next = model.iter_mut().find(|(_, popped)| !popped);
                    let want = next.map(|(hit, popped)| {
                        *popped = true;
                        *hit
                    });
                    prop_assert_eq!(pool.peek(), want);
                    prop_assert_eq!(pool.pop(), want);
                    model.sort_unstable_by_key(|&(hit, popped)| (hit, popped));
                }
            }
        }
    }

    #[test]
    fn distances_come_back_to_the_bit() {
        for distance in [0.0, -0.0, 1.5, -1.5, f32::MAX, f32::MIN, 1e-40, -1e-40, f32::INFINITY] {
            let back = hit(entry(Hit { distance, row: MAX_VERTICES as u32 - 1 }));
            assert_eq!((back.distance.to_bits(), back.row), (distance.to_bits(), MAX_VERTICES as u32 - 1));
        }
    }
}
