//! What is kept of rows, in the order of their lists.

use super::lists::{Lists, Moves};

/// What is kept of rows, slot by slot, in blocks as [`Lists`] has them.
pub trait Arena: Clone {
    /// Makes it as long as `blocks` blocks need; new slots hold anything.
    fn resize(&mut self, blocks: usize);

    /// Copies slot `from` of another over slot `to`.
    fn copy_slot(&mut self, to: usize, other: &Self, from: usize);

    /// Copies slot `from` over slot `to`.
    fn move_slot(&mut self, to: usize, from: usize);

    /// Copies block `from` over block `to`.
    fn move_block(&mut self, to: usize, from: usize);

    /// Gives spare memory back.
    fn shrink_to_fit(&mut self);
}

/// Lists, and an [`Arena`] that follows every change of theirs.
#[derive(Clone)]
pub struct Filed<A> {
    lists: Lists,
    arena: A,
}

impl<A: Arena> Filed<A> {
    /// Rows in lists, and what is kept of them, slot by slot.
    pub fn new(lists: Lists, mut arena: A) -> Self {
        arena.resize(lists.blocks());
        Self { lists, arena }
    }

    /// Which rows lie where.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// What is kept of them.
    pub fn arena(&self) -> &A {
        &self.arena
    }

    /// What is kept of them, to be written; its length stays.
    pub fn arena_mut(&mut self) -> &mut A {
        &mut self.arena
    }

    /// Makes `more` rows, to be written by [`Filed::copy_row`].
    pub fn grow(&mut self, more: usize) {
        self.lists.grow(more);
    }

    /// Puts row `from` of `other` in the place of row `to`, in the list that it is in there.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        let moves = self.lists.take_out(to);
        self.follow(moves);
        if let (Some(source), Some(list)) = (other.lists.slot_of(from), other.lists.list_of(from)) {
            let slot = self.lists.put(to, list);
            self.arena.resize(self.lists.blocks());
            self.arena.copy_slot(slot, &other.arena, source);
        }
    }

    /// Removes a row; the last row takes its number.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn swap_remove(&mut self, row: usize) {
        let moves = self.lists.swap_remove(row);
        self.follow(moves);
    }

    /// Gives spare memory back.
    pub fn shrink_to_fit(&mut self) {
        self.lists.shrink_to_fit();
        self.arena.shrink_to_fit();
    }

    fn follow(&mut self, moves: Moves) {
        if let Some((from, to)) = moves.slot {
            self.arena.move_slot(to, from);
        }
        if let Some((from, to)) = moves.block {
            self.arena.move_block(to, from);
        }
        self.arena.resize(self.lists.blocks());
    }
}
