//! The knobs of a search: their names, and the values that tuning tries.
//!
//! A method declares its knobs in one place, its [`Capabilities`](crate::index::Capabilities); tuning, files and
//! Python go by that. All are whole numbers of which more costs more and finds, on the whole, no less.

use crate::index::SearchOptions;
use crate::vectors::Keep;

/// The name of a knob: one field of [`SearchOptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Name {
    /// [`SearchOptions::n_probe`].
    NProbe,
    /// [`SearchOptions::ef`].
    Ef,
    /// [`SearchOptions::rerank`].
    Rerank,
}

impl Name {
    /// As files and Python spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Name::NProbe => "n_probe",
            Name::Ef => "ef",
            Name::Rerank => "rerank",
        }
    }

    /// The field of that name.
    pub fn of<'o>(self, options: &'o mut SearchOptions<'_>) -> &'o mut Option<usize> {
        match self {
            Name::NProbe => &mut options.n_probe,
            Name::Ef => &mut options.ef,
            Name::Rerank => &mut options.rerank,
        }
    }
}

/// A knob that a method has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knob {
    /// Its name.
    pub name: Name,
    /// What tuning tries; `None` where the index, as it was made, has no choice.
    pub ladder: Option<Ladder>,
}

impl Knob {
    /// `n_probe`: from one to all of `lists` lists.
    pub fn n_probe(lists: usize) -> Self {
        let ladder = Ladder { unit: Unit::One, least: 1, most: lists.max(1), none: false };
        Self { name: Name::NProbe, ladder: Some(ladder) }
    }

    /// `ef`: from one to 50 candidates for each neighbour wanted.
    pub fn ef() -> Self {
        let ladder = Ladder { unit: Unit::Neighbours, least: 1, most: 50, none: false };
        Self { name: Name::Ef, ladder: Some(ladder) }
    }

    /// `rerank`: none, then up to `most` candidates for each neighbour wanted; no choice where no vectors are kept.
    pub fn rerank(keep: Keep, most: usize) -> Self {
        if keep == Keep::None { Self { name: Name::Rerank, ladder: None } } else { Self::rescored(most) }
    }

    /// `rerank` where there is something better than the codes that are scanned: none, then up to `most` candidates for
    /// each neighbour wanted.
    pub fn rescored(most: usize) -> Self {
        let ladder = Ladder { unit: Unit::Neighbours, least: 1, most, none: true };
        Self { name: Name::Rerank, ladder: Some(ladder) }
    }
}

/// What a ladder's ends are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// In k.
    Neighbours,
    /// In ones.
    One,
}

/// Values from `least` to `most`, each about √2 times the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// What the ends are counted in.
    pub unit: Unit,
    /// The least value, at least 1.
    pub least: usize,
    /// The largest value.
    pub most: usize,
    /// Whether 0, for none, stands in the place of the least value: to score just k candidates again changes their
    /// order, not which they are.
    pub none: bool,
}

impl Ladder {
    /// The values, rising, for `k` neighbours among `n` rows; none is above n.
    pub fn values(&self, k: usize, n: usize) -> Vec<usize> {
        let unit = if self.unit == Unit::Neighbours { k.min(n) } else { 1 };
        let least = self.least.saturating_mul(unit).max(1);
        let last = self.most.saturating_mul(unit).min(n);
        // ⌊least·2^(i/2)⌋, without rounding that could differ between machines.
        let square = (least as u128).pow(2);
        let square_of = |i| 1_u128.checked_shl(i).and_then(|power| square.checked_mul(power));
        let rungs = (0..).map(|i| square_of(i).map_or(usize::MAX, |square| square.isqrt() as usize));
        let mut values: Vec<usize> = rungs.take_while(|&rung| rung < last).collect();
        values.push(last);
        if self.none {
            values.retain(|&value| value > least);
            values.insert(0, 0);
        }
        values.dedup();
        values
    }
}

/// The value of each knob that has a choice, in the order in which the method declares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting(pub Vec<(Name, usize)>);

impl Setting {
    /// Puts the values into the options of a call.
    pub fn apply(&self, options: &mut SearchOptions<'_>) {
        for &(name, value) in &self.0 {
            *name.of(options) = Some(value);
        }
    }

    /// Whether no value is larger than the other's.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, other)| mine.1 <= other.1)
    }

    /// The values, by which to sort.
    pub(crate) fn values(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|&(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RERANK: Ladder = Ladder { unit: Unit::Neighbours, least: 1, most: 20, none: true };

    #[test]
    fn rungs() {
        assert_eq!(RERANK.values(10, 1000), [0, 14, 20, 28, 40, 56, 80, 113, 160, 200]);
        assert_eq!(RERANK.values(10, 30), [0, 14, 20, 28, 30]);
        assert_eq!(RERANK.values(1, 1000), [0, 2, 4, 5, 8, 11, 16, 20]);
        let probes = Ladder { unit: Unit::One, least: 1, most: 9, none: false };
        assert_eq!(probes.values(10, 1000), [1, 2, 4, 5, 8, 9]);
        let knob = Knob::rerank(Keep::None, 20);
        assert_eq!((knob.name.as_str(), knob.ladder), ("rerank", None));
    }

    proptest! {
        #[test]
        fn rungs_rise_to_the_end(
            k in prop_oneof![1_usize..100, Just(usize::MAX)],
            n in prop_oneof![1_usize..2000, Just(usize::MAX)],
            least in 1_usize..5,
            most in prop_oneof![1_usize..200, Just(usize::MAX)],
            none in any::<bool>(),
            unit in prop::sample::select(&[Unit::Neighbours, Unit::One][..]),
        ) {
            let values = Ladder { unit, least, most, none }.values(k, n);
            prop_assert!(values.is_sorted_by(|a, b| a < b) && values.len() <= 130, "{values:?}");
            prop_assert!(values.iter().all(|&value| value <= n));
            let unit = if unit == Unit::Neighbours { k.min(n) } else { 1 };
            let end = most.saturating_mul(unit).min(n);
            prop_assert!(values.last() == Some(&end) || (none && values == [0]), "{values:?}");
        }
    }
}
