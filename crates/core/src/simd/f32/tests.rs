//! Layouts, checks at entry, and random lengths and magnitudes. The sweep over every length is `tests/kernels.rs`.

use std::panic::catch_unwind;

use proptest::prelude::*;

use super::{Panel, Tile, View, dot_error};
use crate::simd::{self, GROUP, Level, Simd, TILE, Work};

struct Pair<'a>(&'a [f32], &'a [f32]);

impl Work for Pair<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f32) {
        (simd.dot(self.0, self.1), simd.squared_l2(self.0, self.1))
    }
}

struct Scan<'a>(&'a Panel, &'a Tile);

impl Work for Scan<'_> {
    type Output = [u64; TILE];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [u64; TILE] {
        simd.f32_survivors(self.0, self.1, &[0.0; TILE])
    }
}

/// Row `r`, dimension `j`, told apart from all others.
fn value(r: usize, j: usize) -> f32 {
    (1 + r + 100 * j) as f32
}

#[test]
fn panels_are_dimension_major_and_keep_absent_rows() {
    for count in 0..=GROUP {
        let dim = 1 + count % 7;
        let rows: Vec<Vec<f32>> = (0..count).map(|r| (0..dim + 2).map(|j| value(r, j)).collect()).collect();
        let mut panel = Panel::new(dim);
        panel.data.as_mut_slice::<f32>().fill(-1.0);
        panel.pack(rows.iter().map(Vec::as_slice));
        for (j, column) in panel.data.as_slice::<f32>()[..dim * GROUP].chunks_exact(GROUP).enumerate() {
            for (r, &got) in column.iter().enumerate() {
                assert_eq!(got, if r < count { value(r, j) } else { -1.0 });
            }
        }
    }
}

#[test]
fn tiles_are_dimension_major_and_zero_filled() {
    for count in 1..=TILE {
        let queries: Vec<Vec<f32>> = (0..count).map(|i| (0..5).map(|j| value(i, j)).collect()).collect();
        let tile = Tile::new(5, queries.iter().map(Vec::as_slice));
        assert_eq!(tile.queries(), count);
        for (j, column) in tile.data.chunks_exact(TILE).enumerate() {
            for (i, &got) in column.iter().enumerate() {
                assert_eq!(got, if i < count { value(i, j) } else { 0.0 });
            }
        }
    }
}

#[test]
fn what_does_not_fit_panics() {
    let row: &[f32] = &[1.0; 9];
    assert!(catch_unwind(|| Panel::new(9).pack(vec![row; GROUP + 1].into_iter())).is_err());
    assert!(catch_unwind(|| Panel::new(10).pack([row].into_iter())).is_err());
    assert!(catch_unwind(|| Tile::new(9, [])).is_err());
    assert!(catch_unwind(|| Tile::new(9, [row; TILE + 1])).is_err());
    assert!(catch_unwind(|| Tile::new(10, [row])).is_err());
    for level in Level::available() {
        assert!(catch_unwind(|| simd::run(level, Pair(row, &row[1..]))).is_err());
        for dim in [0, 8, 10] {
            assert!(catch_unwind(|| simd::run(level, Scan(&Panel::new(dim), &Tile::new(9, [row])))).is_err());
        }
    }
}

#[test]
fn a_view_has_the_lengths_kernels_rely_on() {
    for dim in 0..40 {
        let (panel, query) = (Panel::new(dim), vec![0.0; dim]);
        let tile = Tile::new(dim, [query.as_slice()]);
        let view = View::checked(&panel, &tile);
        assert_eq!((view.panel.len(), view.tile.len(), view.dim), (dim * GROUP, dim * TILE, dim));
    }
}

#[test]
fn the_rounding_bound_grows_with_the_dimension() {
    assert!(dot_error(1) >= f32::EPSILON && dot_error(65_536) < 0.004);
    assert!((0..4096).all(|dim| dot_error(dim) < dot_error(dim + 1)));
}

proptest! {
    #[test]
    fn any_rows_are_within_the_bound(
        pairs in prop::collection::vec((-1e12_f32..1e12, -1e-3_f32..1e3), 0..2000),
    ) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let exact = |term: fn(f64, f64) -> f64| -> f64 {
            a.iter().zip(&b).map(|(&x, &y)| term(f64::from(x), f64::from(y))).sum()
        };
        let (dot, l2) = (exact(|x, y| x * y), exact(|x, y| (x - y) * (x - y)));
        let norms = (exact(|x, _| x * x) * exact(|_, y| y * y)).sqrt();
        // Each difference adds two roundings to its square.
        let (error, error_l2) = (f64::from(dot_error(a.len())), f64::from(dot_error(a.len() + 3)));
        for level in Level::available() {
            let got = simd::run(level, Pair(&a, &b));
            prop_assert!((f64::from(got.0) - dot).abs() <= error * norms, "{} {} {dot}", level.name(), got.0);
            prop_assert!((f64::from(got.1) - l2).abs() <= error_l2 * l2, "{} {} {l2}", level.name(), got.1);
        }
    }
}
