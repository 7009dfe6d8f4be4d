//! LVQ against exact search: bytes, and recall of one code, of two, and re-ranked.
//!
//! `cargo run --release -p counterpoint-lvq --example compress`

use counterpoint_core::flat::Flat;
use counterpoint_core::index::{AnnIndex, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::synth::{Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{Keep, Rows};
use counterpoint_lvq::Levels;

#[allow(clippy::print_stdout, reason = "an example prints")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let control = Control::default();
    let sample = sample(Shape::PowerLaw { decay: 0.3 }, 20_000, 200, 128, 1);
    let (rows, queries) = (Rows::new(&sample.data, 128)?, Rows::new(&sample.queries, 128)?);
    let options = SearchOptions::new(10);

    let mut exact = Flat::new(Metric::Cosine);
    exact.fit(&rows, None, &control)?;
    let truth = exact.search(&queries, &options, &control)?;
    let kinds = Levels::SUPPORTED.map(|levels| (levels, Keep::None));
    for ((primary, residual), keep) in kinds.into_iter().chain([((4, 0), Keep::F16)]) {
        let levels = Levels::new(primary, residual)?;
        let mut index = counterpoint_lvq::new(Metric::Cosine, levels, keep);
        index.fit(&rows, None, &control)?;
        let found = index.search(&queries, &options, &control)?;
        let pairs = found.ids.chunks(10).zip(truth.ids.chunks(10));
        let hits: usize =
            pairs.map(|(found, truth)| found.iter().filter(|id| truth.contains(id)).count()).sum();
        let bytes = (&index as &dyn AnnIndex).to_bytes(&control)?.len() / 20_000;
        let (name, keep) = (format!("LVQ-{primary}x{residual}"), keep.name());
        println!("{name}, keep {keep:4}: {bytes:4} bytes a vector, recall@10 {:.3}", hits as f64 / 2_000.0);
    }
    Ok(())
}
