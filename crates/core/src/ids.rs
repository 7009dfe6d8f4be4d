//! External ids ↔ rows, and filters as row masks.
//!
//! While ids are 0, 1, 2, … in row order they are a flag, not a tensor. Otherwise they are a list, and a table
//! from id to row that is built when first asked for. Ids counted up start after the largest ever given and
//! are never reused.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::OnceLock;

use crate::buffer::Buffer;
use crate::file::{Contents, Dtype, FormatError, TensorView};
use crate::threads::Control;

/// What is wrong with ids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not one id for each vector.
    #[error("expected {expected} ids, one for each vector, got {got}")]
    Count {
        /// Vectors given.
        expected: usize,
        /// Ids given.
        got: usize,
    },
    /// The same id twice in one call.
    #[error("expected distinct ids, got {id} more than once")]
    Repeated {
        /// The id.
        id: i64,
    },
    /// An id the index already has.
    #[error("expected new ids, got {id}, which the index already has (upsert replaces)")]
    Present {
        /// The id.
        id: i64,
    },
    /// An id the index does not have.
    #[error("no vector has id {id}")]
    Unknown {
        /// The id.
        id: i64,
    },
    /// Counting up would pass the largest id.
    #[error("ids cannot be counted up past {}: give ids", i64::MAX)]
    Exhausted,
}

#[derive(Clone, Debug)]
enum Order {
    /// Row r has id r.
    Sequential(usize),
    /// Row r has the r-th id of the list.
    Listed(Vec<i64>),
}

/// The ids of an index, row by row.
#[derive(Clone, Debug)]
pub struct Ids {
    order: Order,
    /// The least id above all ever given; `None` when there is none.
    next: Option<i64>,
    rows: OnceLock<HashMap<i64, u32>>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { order: Order::Sequential(0), next: Some(0), rows: OnceLock::new() }
    }
}

/// New ids that were checked against an index, ready to be appended.
#[derive(Clone, Debug)]
pub struct NewIds {
    order: Order,
    first: i64,
    next: Option<i64>,
}

impl NewIds {
    /// The ids, in the order of their vectors.
    pub fn to_vec(&self) -> Vec<i64> {
        match &self.order {
            Order::Sequential(count) => (self.first..).take(*count).collect(),
            Order::Listed(ids) => ids.clone(),
        }
    }
}

/// The first id that comes a second time.
pub(crate) fn first_repeated(ids: &[i64]) -> Option<i64> {
    let Ok(repeated) = find_repeated(ids, || Ok::<_, Infallible>(()));
    repeated
}

/// As `first_repeated`, asking now and then whether to go on.
fn find_repeated<E>(ids: &[i64], go_on: impl Fn() -> Result<(), E>) -> Result<Option<i64>, E> {
    // Sorted input (the usual case) needs no table.
    if ids.is_sorted_by(|a, b| a < b) {
        return Ok(None);
    }
    let mut seen = HashSet::with_capacity(ids.len());
    for part in ids.chunks(1 << 16) {
        go_on()?;
        if let Some(&id) = part.iter().find(|&&id| !seen.insert(id)) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

impl Ids {
    /// Number of ids.
    pub fn len(&self) -> usize {
        match &self.order {
            Order::Sequential(count) => *count,
            Order::Listed(ids) => ids.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of a row.
    ///
    /// # Panics
    /// If ids are listed and there is no such row.
    #[inline(always)]
    pub fn id(&self, row: u32) -> i64 {
        match &self.order {
            Order::Sequential(_) => i64::from(row),
            Order::Listed(ids) => ids[row as usize],
        }
    }

    /// All ids, row by row.
    pub fn to_vec(&self) -> Vec<i64> {
        match &self.order {
            Order::Sequential(count) => (0..).take(*count).collect(),
            Order::Listed(ids) => ids.clone(),
        }
    }

    fn table(&self) -> Option<&HashMap<i64, u32>> {
        match &self.order {
            Order::Sequential(_) => None,
            Order::Listed(ids) => Some(self.rows.get_or_init(|| ids.iter().copied().zip(0..).collect())),
        }
    }

    /// The row of an id.
    pub fn row(&self, id: i64) -> Option<u32> {
        match self.table() {
            None => u32::try_from(id).ok().filter(|&row| (row as usize) < self.len()),
            Some(table) => table.get(&id).copied(),
        }
    }

    /// The rows of ids that must all be present and distinct.
    ///
    /// # Errors
    /// [`IdError::Unknown`] or [`IdError::Repeated`].
    pub fn rows_of(&self, ids: &[i64]) -> Result<Vec<u32>, IdError> {
        if let Some(id) = first_repeated(ids) {
            return Err(IdError::Repeated { id });
        }
        self.lookup(ids)
    }

    /// The rows of ids that must all be present, and may repeat.
    ///
    /// # Errors
    /// [`IdError::Unknown`].
    pub fn lookup(&self, ids: &[i64]) -> Result<Vec<u32>, IdError> {
        ids.iter().map(|&id| self.row(id).ok_or(IdError::Unknown { id })).collect()
    }

    /// Checks ids for `count` new vectors, or counts them up.
    ///
    /// # Errors
    /// [`IdError`]: another number of ids, one given twice or already present, or none left to count up.
    pub fn assign(&self, count: usize, given: Option<&[i64]>) -> Result<NewIds, IdError> {
        let Some(given) = given else {
            let first = self.next.ok_or(IdError::Exhausted)?;
            if count == 0 {
                return Ok(NewIds { order: Order::Sequential(0), first, next: self.next });
            }
            let last = first.checked_add(count as i64 - 1).ok_or(IdError::Exhausted)?;
            return Ok(NewIds { order: Order::Sequential(count), first, next: last.checked_add(1) });
        };
        if given.len() != count {
            return Err(IdError::Count { expected: count, got: given.len() });
        }
        if let Some(id) = first_repeated(given) {
            return Err(IdError::Repeated { id });
        }
        if let Some(&id) = given.iter().find(|&&id| self.row(id).is_some()) {
            return Err(IdError::Present { id });
        }
        let next = match given.iter().max() {
            // A largest id below zero leaves counting where it was.
            Some(&largest) => self.next.and_then(|next| largest.checked_add(1).map(|after| after.max(next))),
            None => self.next,
        };
        let in_order = given.iter().copied().eq((self.len() as i64..).take(count));
        let order = if in_order { Order::Sequential(count) } else { Order::Listed(given.to_vec()) };
        Ok(NewIds { order, first: self.len() as i64, next })
    }

    /// Appends ids that [`Ids::assign`] checked against this state.
    pub fn append(&mut self, new: NewIds) {
        let continues = matches!(new.order, Order::Sequential(_)) && new.first == self.len() as i64;
        self.next = new.next;
        match (&mut self.order, new.order) {
            (_, Order::Sequential(0)) => {}
            (Order::Sequential(count), Order::Sequential(more)) if continues => *count += more,
            (_, order) => {
                let first = self.len() as u32;
                let added = NewIds { order, first: new.first, next: new.next }.to_vec();
                if let Some(table) = self.rows.get_mut() {
                    table.extend(added.iter().copied().zip(first..));
                }
                self.listed().extend(added);
            }
        }
    }

    /// The list of ids, made if they were sequential until now.
    fn listed(&mut self) -> &mut Vec<i64> {
        if let Order::Sequential(count) = self.order {
            self.order = Order::Listed((0..).take(count).collect());
        }
        match &mut self.order {
            Order::Listed(ids) => ids,
            Order::Sequential(_) => unreachable!("made a list just above"),
        }
    }

    /// Forgets the id of `row`, giving the row to the last id.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn swap_remove(&mut self, row: u32) {
        if let Order::Sequential(count) = &mut self.order
            && row as usize + 1 == *count
        {
            *count -= 1;
            return;
        }
        let ids = self.listed();
        let removed = ids.swap_remove(row as usize);
        let moved = ids.get(row as usize).copied();
        if let Some(table) = self.rows.get_mut() {
            table.remove(&removed);
            if let Some(id) = moved {
                table.insert(id, row);
            }
        }
    }

    /// The rows that `allow` names. Unknown ids are ignored: a shard holds only some.
    ///
    /// # Errors
    /// [`FilterError`] for a mask that has not one entry a row.
    pub fn mask(&self, allow: Allow<'_>) -> Result<RowMask, FilterError> {
        let mut mask = RowMask::none(self.len());
        match allow {
            Allow::Ids(ids) => ids.iter().filter_map(|&id| self.row(id)).for_each(|row| mask.allow(row)),
            Allow::Mask(flags) if flags.len() != self.len() => {
                return Err(FilterError { expected: self.len(), got: flags.len() });
            }
            Allow::Mask(flags) => {
                flags.iter().zip(0..).filter(|(flag, _)| **flag).for_each(|(_, row)| mask.allow(row));
            }
        }
        Ok(mask)
    }

    /// The ids as a file's tensor `ids` (padded with zeros to whole cache lines); none while sequential.
    pub fn tensor(&self) -> Option<IdTensor> {
        match &self.order {
            Order::Sequential(_) => None,
            Order::Listed(ids) => Some(IdTensor(Buffer::from_bytes(bytemuck::cast_slice(ids)))),
        }
    }

    /// What the file's parameters hold of the ids: (sequential, the next id to count up to).
    pub fn parameters(&self) -> (bool, Option<i64>) {
        (matches!(self.order, Order::Sequential(_)), self.next)
    }

    /// Takes the ids of `rows` rows out of a file. [`Ids::check`] is for the caller to call.
    ///
    /// # Errors
    /// [`FormatError`] if the tensor is missing or of another shape.
    pub fn take(
        contents: &mut Contents,
        rows: usize,
        sequential: bool,
        next: Option<i64>,
    ) -> Result<Self, FormatError> {
        let order = if sequential {
            Order::Sequential(rows)
        } else {
            let buffer = contents.take("ids", Dtype::I64, &[rows.div_ceil(8) * 8])?;
            let (ids, padding) = buffer.as_slice::<i64>().split_at(rows);
            if padding.iter().any(|&id| id != 0) {
                return Err(FormatError::content("ids", "zeros after the last id", "something else"));
            }
            Order::Listed(ids.to_vec())
        };
        Ok(Self { order, next, rows: OnceLock::new() })
    }

    /// Checks that the ids are such as an index may have.
    ///
    /// # Errors
    /// [`FormatError`] if an id repeats, or if counting up would meet an id.
    pub fn check(&self, control: &Control) -> Result<(), FormatError> {
        let largest = match &self.order {
            Order::Sequential(0) => None,
            Order::Sequential(count) => Some(*count as i64 - 1),
            Order::Listed(ids) => ids.iter().copied().max(),
        };
        if let Some(next) = self.next
            && (next < 0 || largest.is_some_and(|largest| next <= largest))
        {
            return Err(FormatError::content("next_id", "an id above all others", next));
        }
        match &self.order {
            Order::Listed(ids) => match find_repeated(ids, || control.check())? {
                Some(id) => Err(FormatError::content("ids", "distinct ids", format!("{id} more than once"))),
                None => Ok(()),
            },
            Order::Sequential(_) => Ok(()),
        }
    }
}

/// The ids as a file holds them.
pub struct IdTensor(Buffer);

impl IdTensor {
    /// The view a file writes.
    pub fn view(&self) -> TensorView<'_> {
        let bytes = self.0.as_bytes();
        TensorView { name: "ids", dtype: Dtype::I64, shape: vec![bytes.len() / 8], bytes }
    }
}

/// Which vectors a query may return.
#[derive(Clone, Copy, Debug)]
pub enum Allow<'a> {
    /// Those with these ids; unknown ones are ignored.
    Ids(&'a [i64]),
    /// Those flagged, row by row, in the order of the index's ids.
    Mask(&'a [bool]),
}

/// A mask that has not one entry a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter: expected a mask of {expected} entries, one for each id of the index, got {got}")]
pub struct FilterError {
    /// Rows of the index.
    pub expected: usize,
    /// Entries given.
    pub got: usize,
}

/// A set of rows, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowMask {
    words: Vec<u64>,
    count: usize,
}

impl RowMask {
    /// No row of `rows`.
    pub fn none(rows: usize) -> Self {
        Self { words: vec![0; rows.div_ceil(64)], count: 0 }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If the mask is too short for it.
    pub fn allow(&mut self, row: u32) {
        let word = &mut self.words[row as usize / 64];
        let bit = 1 << (row % 64);
        self.count += usize::from(*word & bit == 0);
        *word |= bit;
    }

    /// How many rows are allowed.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Rows 64·group to 64·group + 63, one bit each.
    #[inline(always)]
    pub fn group(&self, group: usize) -> u64 {
        self.words.get(group).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What may happen to the ids of an index.
    #[derive(Clone, Debug)]
    enum Step {
        Count(usize),
        Give(Vec<i64>),
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_usize..5).prop_map(Step::Count),
            prop::collection::vec(-5_i64..40, 0..5).prop_map(Step::Give),
            any::<usize>().prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn follows_a_plain_list(steps in prop::collection::vec(step(), 0..40), ask_always in any::<bool>()) {
            let mut ids = Ids::default();
            let mut model: Vec<i64> = Vec::new();
            let mut next = 0;
            for step in steps {
                match step {
                    Step::Count(count) => {
                        let new = ids.assign(count, None).expect("ids to count");
                        prop_assert_eq!(new.to_vec(), (next..).take(count).collect::<Vec<_>>());
                        model.extend((next..).take(count));
                        next += count as i64;
                        ids.append(new);
                    }
                    Step::Give(given) => {
                        let distinct = given.iter().collect::<HashSet<_>>().len() == given.len();
                        let new = !given.iter().any(|id| model.contains(id));
                        let assigned = ids.assign(given.len(), Some(&given));
                        prop_assert_eq!(assigned.is_ok(), distinct && new);
                        if let Ok(assigned) = assigned {
                            ids.append(assigned);
                            next = given.iter().map(|id| id + 1).chain([next]).max().unwrap_or(next);
                            model.extend(given);
                        }
                    }
                    Step::Remove(row) if !model.is_empty() => {
                        let row = row % model.len();
                        model.swap_remove(row);
                        ids.swap_remove(row as u32);
                    }
                    Step::Remove(_) => {}
                }
                if ask_always {
                    prop_assert_eq!(ids.row(3).map(|r| r as usize), model.iter().position(|&id| id == 3));
                }
            }
            prop_assert_eq!(ids.to_vec(), model.clone());
            for (row, &id) in model.iter().enumerate() {
                prop_assert_eq!(ids.row(id), Some(row as u32));
                prop_assert_eq!(ids.id(row as u32), id);
            }
            for id in -6..60 {
                prop_assert_eq!(ids.row(id).is_some(), model.contains(&id));
            }
        }
    }

    #[test]
    fn ids_end_at_the_largest() {
        let mut ids = Ids::default();
        ids.append(ids.assign(1, Some(&[i64::MAX])).expect("a new id"));
        assert_eq!(ids.assign(1, None).err(), Some(IdError::Exhausted));
        assert!(ids.assign(1, Some(&[5])).is_ok());
    }

    #[test]
    fn masks_ignore_unknown_ids_and_count_once() {
        let mut ids = Ids::default();
        ids.append(ids.assign(70, None).expect("ids to count"));
        let mask = ids.mask(Allow::Ids(&[3, 69, 3, 70, -1])).expect("an id list always masks");
        assert_eq!((mask.count(), mask.group(0), mask.group(1), mask.group(9)), (2, 1 << 3, 1 << 5, 0));
        assert_eq!(ids.mask(Allow::Mask(&[true; 3])), Err(FilterError { expected: 70, got: 3 }));
    }
}
