//! PQ against exact search: bytes of a code, and recall with and without re-ranking.
//!
//! `cargo run --release -p counterpoint-pq --example codes`

use counterpoint_core::flat::Flat;
use counterpoint_core::index::{AnnIndex, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::synth::{Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{Keep, Rows};
use counterpoint_pq::Parameters;

#[allow(clippy::print_stdout, reason = "an example prints")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let control = Control::default();
    let sample = sample(Shape::PowerLaw { decay: 0.3 }, 20_000, 200, 128, 1);
    let (rows, queries) = (Rows::new(&sample.data, 128)?, Rows::new(&sample.queries, 128)?);
    let options = SearchOptions::new(10);

    let mut exact = Flat::new(Metric::L2);
    exact.fit(&rows, None, &control)?;
    let truth = exact.search(&queries, &options, &control)?;
    for (subspaces, bits, keep) in
        [(16, Bits::Eight, Keep::None), (32, Bits::Four, Keep::None), (16, Bits::Eight, Keep::F16)]
    {
        let parameters = Parameters { subspaces: Some(subspaces), bits, keep, seed: 0 };
        let mut index = counterpoint_pq::new(Metric::L2, parameters).ok_or("parameters")?;
        index.fit(&rows, None, &control)?;
        let found = index.search(&queries, &options, &control)?;
        let pairs = found.ids.chunks(10).zip(truth.ids.chunks(10));
        let hits: usize =
            pairs.map(|(found, truth)| found.iter().filter(|id| truth.contains(id)).count()).sum();
        let (bits, keep) = (bits.width(), keep.name());
        println!("{subspaces} × {bits} bits, keep {keep:4}: recall@10 {:.3}", hits as f64 / 2_000.0);
    }
    Ok(())
}
