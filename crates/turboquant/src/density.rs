//! The density of x = √d·t, t one coordinate of a uniform point of the unit sphere in d dimensions: variance 1, and
//! the unit Gaussian as d → ∞.
//!
//! **Angles.** With x = √d·sin v, the density ∝ (1 − x²/d)^((d−3)/2) dx becomes ∝ cosᵈ⁻²(v) dv: smooth for every
//! d ≥ 2, where the first form has a pole at d = 2. Only its integral M₀ is computed numerically, by Gauss-Legendre
//! rules on panels; with \[·\] the difference of the values at the ends, in units of dx without the constant,
//!
//! ```text
//! ∫x   = −d/(d−1)·[cosᵈ⁻¹ v]
//! ∫x²  = M₀ − [x·cosᵈ⁻¹ v]       (by parts)
//! ```
//!
//! d = 1 has two points, ±1, of mass ½.

use std::f64::consts::FRAC_PI_2;

/// Half the nodes of the rule, which is exact for polynomials of degree 4·HALF − 1 = 31.
const HALF: usize = 8;
/// Beyond this many standard deviations lies less than 10⁻³¹ of any density.
const FAR: f64 = 12.0;

/// Mass, first and second moment of an interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    pub(crate) mass: f64,
    pub(crate) first: f64,
    pub(crate) second: f64,
}

/// The density of one number of dimensions.
pub(crate) struct Density {
    dim: usize,
    d: f64,
    /// Nodes in (0, 1) of the rule on \[−1, 1\], and their weights.
    rule: [(f64, f64); HALF],
    /// 1 over the integral of cosᵈ⁻²(v) √d dv over all v.
    scale: f64,
}

impl Density {
    /// For `dim` ≥ 1; 0 is taken as 1.
    pub(crate) fn new(dim: usize) -> Self {
        let mut density = Self { dim, d: dim as f64, rule: gauss_legendre(), scale: 1.0 };
        if dim >= 2 {
            density.scale = 0.5 / density.integral(0.0, f64::INFINITY);
        }
        density
    }

    /// The largest x: √d.
    pub(crate) fn end(&self) -> f64 {
        self.d.sqrt().max(1.0)
    }

    /// The density at x, not an end. Meaningless at d = 1.
    pub(crate) fn at(&self, x: f64) -> f64 {
        self.scale * self.cosine_power(x / self.end(), self.d - 3.0)
    }

    /// The moments of `from < x ≤ to`; either may be infinite.
    pub(crate) fn moments(&self, from: f64, to: f64) -> Moments {
        if self.dim < 2 {
            let point = |x: f64| if from < x && x <= to { 0.5 } else { 0.0 };
            let (below, above) = (point(-1.0), point(1.0));
            return Moments { mass: below + above, first: above - below, second: below + above };
        }
        let mass = self.scale * self.integral(from, to);
        let power = |x: f64| self.scale * self.cosine_power(x / self.end(), self.d - 1.0);
        let times = |x: f64, power: f64| if power > 0.0 { x * power } else { 0.0 };
        let (a, b) = (power(from), power(to));
        Moments {
            mass,
            first: self.d / (self.d - 1.0) * (a - b),
            second: mass + times(from, a) - times(to, b),
        }
    }

    /// cosᵖ(v) where sin v = `sine`; 0 outside (−1, 1).
    fn cosine_power(&self, sine: f64, power: f64) -> f64 {
        if sine.abs() < 1.0 { (0.5 * power * (-sine * sine).ln_1p()).exp() } else { 0.0 }
    }

    /// ∫ cosᵈ⁻²(v) √d dv over the v of `from..to`.
    fn integral(&self, from: f64, to: f64) -> f64 {
        let root = self.end();
        // u = √d·v has standard deviation about 1; cosᵈ⁻²(v) ≤ exp(−(d−2)v²/2).
        let far = if self.dim > 2 { FAR * (self.d / (self.d - 2.0)).sqrt() } else { f64::INFINITY };
        let far = far.min(root * FRAC_PI_2);
        let angle = |x: f64| (root * (x / root).clamp(-1.0, 1.0).asin()).clamp(-far, far);
        let (from, to) = (angle(from), angle(to));
        let panels = (to - from).ceil().max(1.0);
        let half = 0.5 * (to - from) / panels;
        let value = |u: f64| self.cosine_power((u / root).sin(), self.d - 2.0);
        let panel = |k: usize| {
            let middle = from + (2 * k + 1) as f64 * half;
            let pair = |&(node, weight): &(f64, f64)| {
                weight * (value(middle - node * half) + value(middle + node * half))
            };
            half * self.rule.iter().map(pair).sum::<f64>()
        };
        (0..panels as usize).map(panel).sum()
    }
}

/// The positive nodes and their weights of the Gauss-Legendre rule of 2·HALF nodes: roots of the Legendre polynomial P,
/// by Newton's method, and 2 / ((1 − x²)·P'(x)²).
fn gauss_legendre() -> [(f64, f64); HALF] {
    let n = 2 * HALF;
    std::array::from_fn(|i| {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..8 {
            let (mut before, mut value) = (1.0, x);
            for k in 2..=n {
                let k = k as f64;
                (before, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k);
            }
            slope = n as f64 * (x * value - before) / (x * x - 1.0);
            x -= value / slope;
        }
        (x, 2.0 / ((1.0 - x * x) * slope * slope))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trapezoids in u: the integrand is smooth, and vanishes with its odd derivatives or is periodic at the ends.
    fn reference(dim: usize, moment: i32) -> f64 {
        let steps = 400_000;
        let root = (dim as f64).sqrt();
        let end = (root * FRAC_PI_2).min(40.0);
        let sum = |moment: i32| -> f64 {
            (0..steps)
                .map(|i| {
                    let v = (-1.0 + (2 * i + 1) as f64 / steps as f64) * end / root;
                    v.cos().powf(dim as f64 - 2.0) * (root * v.sin()).powi(moment)
                })
                .sum()
        };
        sum(moment) / sum(0)
    }

    #[test]
    fn moments_are_those_of_the_density() {
        for dim in [2, 3, 4, 5, 8, 33, 384, 65_536] {
            let density = Density::new(dim);
            let all = density.moments(f64::NEG_INFINITY, f64::INFINITY);
            assert!((all.mass - 1.0).abs() < 1e-13 && all.first.abs() < 1e-13, "{dim}: {all:?}");
            assert!((all.second - 1.0).abs() < 1e-13 && (reference(dim, 2) - 1.0).abs() < 1e-8, "{dim}");
            // Parts add up, and the integral of the density is the mass.
            let cuts = [f64::NEG_INFINITY, -0.9, -0.2, 0.0, 0.3, 1.1, f64::INFINITY];
            let parts: Vec<Moments> = cuts.windows(2).map(|w| density.moments(w[0], w[1])).collect();
            assert!((parts.iter().map(|m| m.mass).sum::<f64>() - 1.0).abs() < 1e-13, "{dim}");
            let steps = 100_000;
            let width = 0.8 / f64::from(steps);
            let x = |i: i32| 0.3 + (f64::from(i) + 0.5) * width;
            for (power, got) in [parts[4].mass, parts[4].first, parts[4].second].into_iter().enumerate() {
                let sum: f64 = (0..steps).map(|i| density.at(x(i)) * x(i).powi(power as i32) * width).sum();
                assert!((sum - got).abs() < 1e-9, "{dim}: moment {power} is {got}, not {sum}");
            }
        }
    }

    #[test]
    fn known_densities() {
        // d = 2: arcsine; d = 3: uniform on ±√3; d → ∞: Gaussian, whose mass in ±1 is erf(1/√2).
        let mass = |dim: usize, x: f64| Density::new(dim).moments(0.0, x).mass;
        assert!((mass(2, 1.0) - 0.25).abs() < 1e-14);
        assert!((mass(3, 0.6) - 0.3 / 3_f64.sqrt()).abs() < 1e-14);
        for dim in [usize::MAX, 1 << 50] {
            assert!((mass(dim, 1.0) - 0.341_344_746_068_542_9).abs() < 1e-13);
        }
        assert!((mass(1 << 20, 1.0) - 0.341_344_746_068_542_9).abs() < 1e-6);
        let points = Density::new(1).moments(0.0, f64::INFINITY);
        assert_eq!((points.mass, points.first, points.second), (0.5, 0.5, 0.5));
    }
}
