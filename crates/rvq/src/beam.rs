//! Beam search for codes: of every stage the `beam` best sums of codewords so far go on.
//!
//! A sum is ranked by what is left of its error once ‖x‖² is taken off ([`super::codebooks`]); as nothing is rounded on the
//! way but f32 sums, that is its true residual norm. Once all sums of the beam agree on a codeword, its look-ups are
//! taken off the products of all later stages once, and no longer for each sum.

use counterpoint_core::select::{from_ordered_bits, ordered_bits};
use counterpoint_core::simd::{Simd, Work};
use counterpoint_core::vectors::Matrix;

use crate::codebooks::{BATCH, Ready};

/// Values that fill a register.
const LANES: usize = 16;
/// Scores looked at together.
const WIDE: usize = 64;

/// Room to encode in.
#[derive(Default)]
pub(crate) struct Scratch {
    products: Vec<f32>,
    keys: Vec<u64>,
    /// Σ s − Σ G of each sum of codewords, one of each stage so far: the larger, the nearer. Their codes lie apart.
    sums: Vec<f32>,
    next: Vec<f32>,
    codes: Vec<u8>,
    next_codes: Vec<u8>,
}

/// Encodes up to [`BATCH`] vectors.
pub(crate) struct Encode<'a, 'b> {
    pub(crate) ready: &'a Ready<'b>,
    pub(crate) beam: usize,
    /// Vectors, their distance and length.
    pub(crate) values: (&'a [f32], usize, usize),
    /// One byte a stage, vector after vector.
    pub(crate) codes: &'a mut [u8],
    pub(crate) scratch: &'a mut Scratch,
}

impl Work for Encode<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { ready, beam, values, codes, scratch } = self;
        let (stages, words) = (ready.codebooks.stages(), ready.panels.rows());
        if stages == 0 {
            return;
        }
        let count = codes.len() / stages;
        debug_assert!(count <= BATCH);
        let mut products = std::mem::take(&mut scratch.products);
        products.resize(BATCH * words, 0.0);
        ready.panels.multiply(simd, values, count, &mut products, words);
        for (codes, products) in codes.chunks_exact_mut(stages).zip(products.chunks_exact_mut(words)) {
            one(ready, beam, products, codes, scratch);
        }
        scratch.products = products;
    }
}

/// Encodes the vector whose products with all codewords are `products`, which are changed.
#[inline(always)]
fn one(ready: &Ready<'_>, beam: usize, products: &mut [f32], out: &mut [u8], scratch: &mut Scratch) {
    let mut rows: Vec<&[f32]> = Vec::with_capacity(out.len());
    let rows = &mut rows;
    let Scratch { keys, sums, next, codes, next_codes, .. } = scratch;
    let stages = out.len();
    sums.clear();
    sums.push(0.0);
    codes.clear();
    codes.resize(stages, 0);
    // Stages on which all sums agree.
    let mut common = 0;
    for stage in 0..stages {
        let (offset, size) = (ready.codebooks.offset(stage), ready.codebooks.size(stage));
        let ahead = |from: usize| offset - ready.codebooks.offset(from + 1);
        keys.clear();
        let mut limit = Limit { beam, score: f32::NEG_INFINITY };
        for (s, (&base, codes)) in sums.iter().zip(codes.chunks_exact(stages)).enumerate() {
            rows.clear();
            rows.extend((common..stage).map(|from| &ready.cross(from, codes[from])[ahead(from)..][..size]));
            let products = &products[offset..offset + size];
            let first = (s * size) as u32;
            offer(products, rows, base, first, &mut limit, keys);
        }
        keep(keys, beam);
        keys.sort_unstable_by(|a, b| b.cmp(a));
        next.clear();
        next_codes.clear();
        for &key in keys.iter() {
            let index = !(key as u32) as usize;
            let (s, code) = (index / size, index % size);
            next.push(from_ordered_bits((key >> 32) as u32));
            let from = next_codes.len();
            next_codes.extend_from_slice(&codes[s * stages..(s + 1) * stages]);
            next_codes[from + stage] = code as u8;
        }
        std::mem::swap(sums, next);
        std::mem::swap(codes, next_codes);
        while common <= stage && agree(codes, stages, common) {
            let after = ready.codebooks.offset(common + 1);
            let cross = ready.cross(common, codes[common]);
            products[after..].iter_mut().zip(cross).for_each(|(to, cross)| *to -= cross);
            common += 1;
        }
    }
    out.copy_from_slice(&codes[..stages]);
}

/// Whether all sums have the same codeword of a stage.
#[inline(always)]
fn agree(codes: &[u8], stages: usize, stage: usize) -> bool {
    codes.iter().skip(stage).step_by(stages).all(|&code| code == codes[stage])
}

/// What scores must reach to be among the best.
struct Limit {
    beam: usize,
    /// The least of the `beam` best so far.
    score: f32,
}

/// Takes in those of the scores base + product − Σ rows that may be among the best, each as a key: by score, then the
/// lower index.
#[inline(always)]
fn offer(products: &[f32], rows: &[&[f32]], base: f32, first: u32, limit: &mut Limit, keys: &mut Vec<u64>) {
    for (c, chunk) in products.chunks(WIDE).enumerate() {
        let mut scores = [f32::NEG_INFINITY; WIDE];
        let mut most = [f32::NEG_INFINITY; LANES];
        if let Some(chunk) = chunk.first_chunk::<WIDE>() {
            let [a, b, c, d] = wide(chunk, base, rows, c * WIDE);
            for (l, most) in most.iter_mut().enumerate() {
                let (ab, cd) = (larger(a[l], b[l]), larger(c[l], d[l]));
                *most = larger(ab, cd);
            }
            scores.copy_from_slice([a, b, c, d].as_flattened());
        } else {
            scores.iter_mut().zip(chunk).for_each(|(score, product)| *score = base + product);
            for row in rows {
                scores.iter_mut().zip(&row[c * WIDE..]).for_each(|(score, cross)| *score -= cross);
            }
            for part in scores.as_chunks::<LANES>().0 {
                most.iter_mut().zip(part).for_each(|(most, &v)| *most = larger(v, *most));
            }
        }
        if !most.iter().fold(false, |passes, &v| passes | (v >= limit.score)) {
            continue;
        }
        for (i, &score) in scores[..chunk.len()].iter().enumerate() {
            if score >= limit.score {
                let index = first + (c * WIDE + i) as u32;
                keys.push(u64::from(ordered_bits(score)) << 32 | u64::from(!index));
            }
        }
        if keys.len() >= 2 * limit.beam + WIDE {
            keep(keys, limit.beam);
            let least = keys.iter().fold(u64::MAX, |least, &key| least.min(key));
            limit.score = from_ordered_bits((least >> 32) as u32);
        }
    }
}

/// base + product − Σ rows, from `at` on in the rows.
#[inline(always)]
fn wide(products: &[f32; WIDE], base: f32, rows: &[&[f32]], at: usize) -> [[f32; LANES]; 4] {
    let part =
        |values: &[f32], p: usize| *values[p * LANES..].first_chunk::<LANES>().unwrap_or(&[0.0; LANES]);
    let start = |p: usize| {
        let mut scores = part(products, p);
        scores.iter_mut().for_each(|score| *score += base);
        scores
    };
    let (mut a, mut b, mut c, mut d) = (start(0), start(1), start(2), start(3));
    for row in rows {
        let row = &row[at..at + WIDE];
        a = less(a, part(row, 0));
        b = less(b, part(row, 1));
        c = less(c, part(row, 2));
        d = less(d, part(row, 3));
    }
    [a, b, c, d]
}

#[inline(always)]
fn less(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
    let mut less = a;
    less.iter_mut().zip(b).for_each(|(a, b)| *a -= b);
    less
}

/// The larger of two; the second if they do not compare.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Leaves the `beam` largest keys.
#[inline(always)]
fn keep(keys: &mut Vec<u64>, beam: usize) {
    if keys.len() > beam {
        keys.select_nth_unstable_by(beam - 1, |a, b| b.cmp(a));
        keys.truncate(beam);
    }
}

/// The values of some rows of a matrix, as [`Encode`] takes them.
pub(crate) fn rows_from(rows: &Matrix<f32>, first: usize) -> (&[f32], usize, usize) {
    (&rows.values()[first * rows.stride()..], rows.stride(), rows.dim())
}
