//! Which candidates become edges.
//!
//! About a vertex u, candidates r at distances D(r) are taken nearest first. The rule of relative neighbourhoods (J. W.
//! Jaromczyk, G. T. Toussaint, 1992; with α in DiskANN, NeurIPS 2019) leaves r out where a kept i is nearer to it than u
//! is: α·d(i, r) ≤ D(r), α ≥ 1. With u as the origin d(i, r)² = D(i)² + D(r)² − 2⟨i, r⟩, so r is left out if
//!
//! > ⟨i, r⟩ − ½D(i)² ≥ ½D(r)²·(1 − 1/α²)
//!
//! for any kept i: one number of each candidate, the largest left side, decides. A kept i at distance 0 says nothing of
//! other directions, and leaves out only rows that are equal to u as well.
//!
//! **Supplement.** Rows that are left with fewer edges than they have room for are filled up with candidates the rule
//! left out (Y. Gou et al., SymphonyQG, SIGMOD 2025): those whose angle at u to every kept one is above a threshold,
//! nearest first, under thresholds that fall from 60° to 0°.

use crate::select::Hit;
use crate::simd::{GROUP, Simd, TILE};
use crate::vectors::RowSource;

use super::local::{Local, Values};

/// Cosines of the angles under which edges are supplemented.
const ANGLES: [f32; 9] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9];

/// Rows are asked for so many before they are read.
const AHEAD: usize = 2;

/// What follows the edges that the rule keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fill {
    /// The supplement.
    Supplement,
    /// Those whose angle to every edge of the rule is largest, whatever their angles to each other: candidates for a
    /// second pruning.
    Widest,
}

/// What is to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// Edges at most.
    pub(super) degree: usize,
    /// α.
    pub(super) alpha: f32,
    /// How the rest of a row is filled.
    pub(super) fill: Fill,
}

/// Memory to prune in.
pub(super) struct Pruner {
    local: Local,
    values: Vec<Values>,
    /// The largest ⟨i, r⟩ − ½D(i)² of each candidate.
    excess: Vec<[f32; GROUP]>,
    /// The largest ⟨i, r⟩ / D(i).
    along: Vec<[f32; GROUP]>,
    kept: Vec<bool>,
    ranked: Vec<Hit>,
    origin: Vec<f32>,
    row: Vec<f32>,
}

impl Pruner {
    /// For rows of `dim` values.
    pub(super) fn new(dim: usize) -> Self {
        Self {
            local: Local::new(dim),
            values: Vec::new(),
            excess: Vec::new(),
            along: Vec::new(),
            kept: Vec::new(),
            ranked: Vec::new(),
            origin: vec![0.0; dim],
            row: vec![0.0; dim],
        }
    }

    /// Gives rows their squared distances from `vertex`.
    #[inline(always)]
    pub(super) fn measure<S: Simd>(&mut self, simd: S, rows: &dyn RowSource, vertex: u32, hits: &mut [Hit]) {
        rows.read(vertex as usize, &mut self.origin);
        for i in 0..hits.len() {
            if let Some(next) = hits.get(i + AHEAD) {
                rows.prefetch(next.row as usize);
            }
            rows.read(hits[i].row as usize, &mut self.row);
            hits[i].distance = simd.squared_l2(&self.origin, &self.row);
        }
    }

    /// Writes to `out` which of the `candidates` (nearest first, by squared distances; distinct, others than `vertex`)
    /// become edges. First come those that the rule keeps.
    #[inline(always)]
    pub(super) fn prune<S: Simd>(
        &mut self,
        simd: S,
        rows: &dyn RowSource,
        vertex: u32,
        candidates: &[Hit],
        rule: Rule,
        out: &mut Vec<Hit>,
    ) {
        out.clear();
        rows.read(vertex as usize, &mut self.origin);
        self.local.begin(candidates.len());
        for (i, candidate) in candidates.iter().enumerate() {
            if let Some(next) = candidates.get(i + AHEAD) {
                rows.prefetch(next.row as usize);
            }
            rows.read(candidate.row as usize, &mut self.row);
            self.local.push(&self.row, &self.origin, |_| 0.0);
        }
        for most in [&mut self.excess, &mut self.along] {
            most.clear();
            most.resize(self.local.groups(), [f32::NEG_INFINITY; GROUP]);
        }
        self.kept.clear();
        self.kept.resize(candidates.len(), false);
        let slack = 0.5 * (1.0 - 1.0 / (rule.alpha * rule.alpha));
        self.walk(simd, candidates, rule.degree, out, |square, excess, _| {
            excess < slack * square || excess == f32::NEG_INFINITY
        });
        match rule.fill {
            Fill::Supplement => {
                for cosine in ANGLES {
                    let apart = |square: f32, _, along| along < cosine * square.sqrt();
                    self.walk(simd, candidates, rule.degree, out, apart);
                }
                let rest = candidates.iter().zip(&self.kept).filter(|(_, kept)| !**kept);
                out.extend(rest.map(|(hit, _)| *hit).take(rule.degree - out.len()));
            }
            Fill::Widest => {
                let rest = candidates.iter().zip(&self.kept).enumerate().filter(|(_, (_, kept))| !**kept);
                self.ranked.clear();
                self.ranked.extend(rest.map(|(c, (hit, _))| {
                    let along = self.along[c / GROUP][c % GROUP];
                    Hit { distance: along / hit.distance.sqrt().max(f32::MIN_POSITIVE), row: c as u32 }
                }));
                self.ranked.sort_unstable();
                let room = rule.degree - out.len();
                out.extend(self.ranked.iter().take(room).map(|hit| candidates[hit.row as usize]));
            }
        }
    }

    /// Keeps candidates that pass, by their squared distance, excess and part along the kept ones.
    #[inline(always)]
    fn walk<S: Simd>(
        &mut self,
        simd: S,
        candidates: &[Hit],
        degree: usize,
        out: &mut Vec<Hit>,
        passes: impl Fn(f32, f32, f32) -> bool,
    ) {
        let mut next = 0;
        while out.len() < degree {
            // Those that pass so far are compared with all at once.
            let (mut chosen, mut many) = ([0; TILE], 0);
            while next < candidates.len() && many < TILE {
                if !self.kept[next] && self.passing(next, candidates, &passes) {
                    chosen[many] = next;
                    many += 1;
                }
                next += 1;
            }
            if many == 0 {
                return;
            }
            self.local.products(simd, &chosen[..many], 0, &mut self.values);
            for (i, &c) in chosen[..many].iter().enumerate() {
                if out.len() < degree && self.passing(c, candidates, &passes) {
                    self.kept[c] = true;
                    out.push(candidates[c]);
                    self.keep(i, candidates[c].distance, candidates);
                }
            }
        }
    }

    #[inline(always)]
    fn passing(&self, c: usize, candidates: &[Hit], passes: impl Fn(f32, f32, f32) -> bool) -> bool {
        let (group, r) = (c / GROUP, c % GROUP);
        passes(candidates[c].distance, self.excess[group][r], self.along[group][r])
    }

    /// Takes what vector `i` of the tile, now kept, says of all others.
    #[inline(always)]
    fn keep(&mut self, i: usize, square: f32, candidates: &[Hit]) {
        if square <= 0.0 {
            for (c, _) in candidates.iter().enumerate().take_while(|(_, hit)| hit.distance <= 0.0) {
                self.excess[c / GROUP][c % GROUP] = f32::INFINITY;
                self.along[c / GROUP][c % GROUP] = f32::INFINITY;
            }
            return;
        }
        let (half, inverse) = (0.5 * square, 1.0 / square.sqrt());
        for ((values, excess), along) in self.values.iter().zip(&mut self.excess).zip(&mut self.along) {
            for ((&value, excess), along) in values[i].iter().zip(excess).zip(along) {
                let (over, part) = (value - half, value * inverse);
                *excess = if over > *excess { over } else { *excess };
                *along = if part > *along { part } else { *along };
            }
        }
    }
}
