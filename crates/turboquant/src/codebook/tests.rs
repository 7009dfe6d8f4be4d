//! Against published constants, an independent derivation, and pinned bytes.

use super::*;

/// Published mean squared errors of the unit Gaussian's Lloyd-Max codes of 1 to 4 bits.
const ERRORS: [f64; 4] = [0.363, 0.1175, 0.0345, 0.0095];
const DIMS: [usize; 12] = [1, 2, 3, 4, 5, 7, 16, 100, 256, 384, 65_536, usize::MAX];

fn book(bits: u32, dim: usize) -> Codebook {
    Codebook::new(bits, dim).unwrap()
}

/// The error of levels on the unit Gaussian, each x at its nearest level: midpoints, nothing shared with the code.
fn gaussian_error(levels: &[f32]) -> f64 {
    let (steps, end) = (200_000, 9.0);
    let cost = |i: usize| {
        let x = end * ((2 * i + 1) as f64 / steps as f64 - 1.0);
        let nearest = levels.iter().map(|&c| (x - f64::from(c)).powi(2)).fold(f64::INFINITY, f64::min);
        nearest * (-0.5 * x * x).exp()
    };
    (0..steps).map(cost).sum::<f64>() * 2.0 * end / steps as f64 / std::f64::consts::TAU.sqrt()
}

/// Plain Lloyd on the positive half of a fine grid of points with the density's weights, from even quantiles.
fn discrete_lloyd(n: usize, dim: usize) -> Vec<f64> {
    let (points, d) = (400_000, dim as f64);
    let end = d.sqrt().min(9.0);
    let x = |i: usize| end * (i as f64 + 0.5) / points as f64;
    let mut sums = vec![(0.0, 0.0)];
    for i in 0..points {
        let weight = (1.0 - x(i).powi(2) / d).max(0.0).powf(0.5 * (d - 3.0));
        let (mass, first) = sums[i];
        sums.push((mass + weight, first + weight * x(i)));
    }
    let at = |x: f64| {
        // Linear between the points' edges.
        let place = (x / end * points as f64).clamp(0.0, points as f64 - 1e-6);
        let (i, part) = (place as usize, place.fract());
        let ((m0, f0), (m1, f1)) = (sums[i], sums[i + 1]);
        (m0 + part * (m1 - m0), f0 + part * (f1 - f0))
    };
    let all = sums[points].0;
    let mut levels: Vec<f64> = (0..n)
        .map(|i| x(sums.partition_point(|s| s.0 < all * (2 * i + 1) as f64 / (2 * n) as f64) - 1))
        .collect();
    for _ in 0..20_000 {
        let before = levels.clone();
        for i in 0..n {
            let from = if i == 0 { (0.0, 0.0) } else { at(0.5 * (before[i - 1] + before[i])) };
            let to = if i + 1 == n { sums[points] } else { at(0.5 * (before[i] + before[i + 1])) };
            levels[i] = (to.1 - from.1) / (to.0 - from.0);
        }
        if levels.iter().zip(&before).all(|(a, b)| (a - b).abs() < 1e-11) {
            break;
        }
    }
    levels
}

#[test]
fn levels_are_the_published_ones() {
    let published: [&[f64]; 4] = [
        &[0.7979],
        &[0.4528, 1.5104],
        &[0.2451, 0.7560, 1.3439, 2.1520],
        &[0.1284, 0.3881, 0.6568, 0.9424, 1.2562, 1.6181, 2.0690, 2.7326],
    ];
    for (levels, published) in (1..=4).map(|bits| lloyd_max(1 << (bits - 1), usize::MAX)).zip(published) {
        assert_eq!(levels.len(), published.len());
        for (got, want) in levels.iter().zip(published) {
            assert!((got - want).abs() < 1e-4, "{levels:?}");
        }
    }
    // d = 3 is uniform on ±√3: even levels.
    for n in [1, 4, 32] {
        for (i, level) in lloyd_max(n, 3).into_iter().enumerate() {
            assert!((level - 3_f64.sqrt() * (i as f64 + 0.5) / n as f64).abs() < 1e-12);
        }
    }
}

#[test]
fn an_independent_derivation_agrees() {
    for dim in [3, 4, 6, 16, 384, 1 << 20] {
        for n in [1, 2, 4, 8, 16] {
            let (levels, want) = (lloyd_max(n, dim), discrete_lloyd(n, dim));
            for (got, want) in levels.iter().zip(&want) {
                assert!((got - want).abs() < 2e-5, "{dim} dimensions: {levels:?}, not {want}");
            }
        }
    }
}

#[test]
fn every_level_is_the_mean_of_its_cell() {
    for dim in DIMS.into_iter().filter(|&dim| dim > 1) {
        for bits in 1..=MAX_BITS {
            let levels = lloyd_max(1 << (bits - 1), dim);
            let most =
                Step::at(&Density::new(dim), &levels).residual.iter().fold(0.0_f64, |m, r| m.max(r.abs()));
            assert!(most < 1e-13, "{bits} bits, {dim} dimensions: {most}");
        }
    }
}

#[test]
fn books_are_odd_ascending_and_on_their_grid() {
    for dim in DIMS {
        for bits in 1..=MAX_BITS {
            let book = book(bits, dim);
            let count = 1 << bits;
            assert_eq!((book.bits(), book.dim()), (bits, dim));
            assert_eq!((book.grid().len(), book.levels().len()), (count, count));
            assert_eq!(book.thresholds().len(), count - 1);
            assert_eq!((book.grid()[0], book.grid()[count - 1]), (-127, 127));
            assert!(
                book.grid().is_sorted_by(|a, b| a < b),
                "{bits} bits, {dim} dimensions: {:?}",
                book.grid()
            );
            assert!(book.grid().iter().zip(book.grid().iter().rev()).all(|(a, b)| a == &-b));
            assert_eq!(book.thresholds()[count / 2 - 1], 0.0);
            for (i, &threshold) in book.thresholds().iter().enumerate() {
                let pair = [book.levels()[i], book.levels()[i + 1]];
                assert!(pair[0] < threshold && threshold < pair[1]);
                assert!((threshold - 0.5 * (pair[0] + pair[1])).abs() <= 1e-6);
            }
            for (&grid, &level) in book.grid().iter().zip(book.levels()) {
                assert_eq!(f32::from(grid) * book.unit(), level);
            }
            assert_eq!(book.table()[..count], *book.grid());
            assert!(book.table()[count..].iter().all(|&entry| entry == 0));
            assert_eq!(book, Codebook::new(bits, dim).unwrap());
        }
    }
    for (bits, dim) in [(0, 8), (7, 8), (4, 0)] {
        assert_eq!(Codebook::new(bits, dim), None);
    }
}

#[test]
fn errors_are_the_published_ones() {
    for dim in [256, 384, 768, 4096, 65_536, usize::MAX] {
        for (bits, published) in (1..).zip(ERRORS) {
            let book = book(bits, dim);
            let bound = 3_f64.sqrt() * std::f64::consts::FRAC_PI_2 * 0.25_f64.powi(bits as i32);
            for error in [book.error(), gaussian_error(book.levels())] {
                assert!(
                    error <= 1.02 * published && error <= bound,
                    "{bits} bits, {dim} dimensions: {error}"
                );
            }
        }
    }
    for bits in 1..=MAX_BITS {
        let book = book(bits, usize::MAX);
        assert!((book.error() - gaussian_error(book.levels())).abs() < 1e-7, "{bits} bits");
        // Two points are exact.
        assert!(Codebook::new(bits, 1).unwrap().error() < 1e-12);
    }
}

#[test]
fn grids_are_pinned() {
    // The positive half of the grid, and the bits of its unit.
    let pins: [(u32, usize, &[i8], u32); 9] = [
        (2, 8, &[40, 127], 1_010_316_420),
        (2, 384, &[38, 127], 1_010_999_689),
        (2, 784, &[38, 127], 1_011_007_204),
        (3, 8, &[16, 49, 84, 127], 1_013_972_622),
        (3, 384, &[14, 45, 79, 127], 1_015_700_944),
        (3, 784, &[14, 45, 79, 127], 1_015_715_722),
        (4, 8, &[7, 21, 36, 51, 66, 84, 103, 127], 1_015_777_860),
        (4, 384, &[6, 18, 31, 44, 59, 75, 96, 127], 1_018_122_305),
        (4, 784, &[6, 18, 31, 44, 58, 75, 96, 127], 1_018_153_971),
    ];
    for (bits, dim, grid, unit) in pins {
        let book = book(bits, dim);
        assert_eq!(book.grid()[grid.len()..], *grid, "{bits} bits, {dim} dimensions");
        assert_eq!(book.unit().to_bits(), unit, "{bits} bits, {dim} dimensions");
    }
}

#[test]
fn sums_of_bits_lose_what_they_say() {
    for dim in DIMS {
        let most = if dim > 3 { 1.05 } else { 1.15 };
        for bits in 1..=MAX_BITS {
            let book = book(bits, dim);
            let cells = book.cells();
            let mut last = [f64::INFINITY; 2];
            for m in 1..=bits {
                let what = format!("{m} of {bits} bits, {dim} dimensions");
                let fits = [book.additive(m), book.binary(m)];
                // By definition: the sum over all codes.
                for (fit, last) in fits.iter().zip(&mut last) {
                    assert_eq!(fit.weights.len(), m as usize);
                    let cost = |(code, cell): (usize, &Moments)| {
                        let term =
                            |p: usize| if code >> (bits as usize - 1 - p) & 1 == 1 { 1.0 } else { -1.0 };
                        let value: f64 = fit.weights.iter().enumerate().map(|(p, w)| w * term(p)).sum();
                        cell.second - 2.0 * value * cell.first + value * value * cell.mass
                    };
                    let error: f64 = cells.iter().enumerate().map(cost).sum();
                    assert!((error - fit.error).abs() < 1e-12, "{what}: {error}, not {}", fit.error);
                    assert!(fit.error <= *last + 1e-12, "{what}: a bit more is worse");
                    *last = fit.error;
                }
                let [free, binary] = fits.map(|fit| fit.error);
                // Free weights are the best; the ratio of a number's bits costs little: 5 %, or 15 % in two or three dimensions.
                assert!(
                    free <= binary + 1e-12 && binary <= most * free + 1e-12,
                    "{what}: {free} and {binary}"
                );
                // No sum beats the mean of each cell of the top m bits; of two bits every odd function is a sum.
                let means = cells.chunks(1 << (bits - m)).map(|part| {
                    let [mass, first]: [f64; 2] =
                        [part.iter().map(|c| c.mass).sum(), part.iter().map(|c| c.first).sum()];
                    if mass > 0.0 { first * first / mass } else { 0.0 }
                });
                let best = 1.0 - means.sum::<f64>();
                assert!(free >= best - 1e-12 && (m > 2 || free <= best + 1e-12), "{what}: {free} and {best}");
            }
        }
    }
    assert_eq!(book(3, 1).additive(3).weights, [1.0, 0.0, 0.0]);
}
