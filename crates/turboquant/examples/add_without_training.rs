//! TurboQuant against exact search: rows are added as they come, nothing is trained; bytes and recall at 1 to 4 bits.
//!
//! `cargo run --release -p counterpoint-turboquant --example add_without_training`

use counterpoint_core::flat::Flat;
use counterpoint_core::index::{AnnIndex, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::synth::{Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{Keep, Rows};
use counterpoint_turboquant::{Allocation, Center, Parameters};

#[allow(clippy::print_stdout, reason = "an example prints")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let control = Control::default();
    let sample = sample(Shape::PowerLaw { decay: 0.3 }, 20_000, 200, 128, 1);
    let (rows, queries) = (Rows::new(&sample.data, 128)?, Rows::new(&sample.queries, 128)?);
    let options = SearchOptions::new(10);

    let mut exact = Flat::new(Metric::Cosine);
    exact.fit(&rows, None, &control)?;
    let truth = exact.search(&queries, &options, &control)?;
    for (bits, keep) in [(4, Keep::None), (3, Keep::None), (2, Keep::None), (1, Keep::None), (2, Keep::F16)] {
        let parameters =
            Parameters { bits, allocation: Allocation::Even, center: Center::None, keep, seed: 0 };
        let mut index = counterpoint_turboquant::new(Metric::Cosine, parameters).ok_or("bits")?;
        for part in sample.data.chunks(5_000 * 128) {
            index.add(&Rows::new(part, 128)?, None, &control)?;
        }
        let found = index.search(&queries, &options, &control)?;
        let pairs = found.ids.chunks(10).zip(truth.ids.chunks(10));
        let hits: usize =
            pairs.map(|(found, truth)| found.iter().filter(|id| truth.contains(id)).count()).sum();
        let bytes = (&index as &dyn AnnIndex).to_bytes(&control)?.len() / 20_000;
        println!(
            "{bits} bits, keep {:4}: {bytes:4} bytes a vector, recall@10 {:.3}",
            keep.name(),
            hits as f64 / 2_000.0
        );
    }
    Ok(())
}
