//! What is learned: the projection, the centroids, and each cluster's factor.

use counterpoint_core::axes::leading;
use counterpoint_core::buffer::Buffer;
use counterpoint_core::cluster::{Centroids, KMeans};
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::intake::fill;
use counterpoint_core::metric::Metric;
use counterpoint_core::rotate::Dense;
use counterpoint_core::simd::fastscan::RowTerms;
use counterpoint_core::simd::int8::{self, Bits};
use counterpoint_core::simd::{GROUP, Simd, Work, run};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::{InputError, Kept, Matrix, RowSource};

use crate::factor::{Encode, Factor, Fit, Members, Points, Start, residuals, rows_of};
use crate::parameters::Parameters;
use crate::products::{multiply, transpose};
use crate::projection::{Projection, QueryProjection, rounded};

/// Rows that the projection, and under ip the mean, are learned from.
const SAMPLE: usize = 4096;

/// What is learned.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) metric: Metric,
    pub(crate) bits: Bits,
    pub(crate) rank: usize,
    /// G: s orthonormal rows, but for rounding.
    pub(crate) projection: Projection,
    pub(crate) query_projection: QueryProjection,
    /// m̄, about the mean of all rows.
    pub(crate) mean: Matrix<f32>,
    pub(crate) centroids: Centroids,
    /// Each cluster's groups of coded rows of A.
    factors: Buffer,
    /// f32: their scales, for each cluster.
    scales: Buffer,
    /// f32: their products with m̄ − m.
    shifts: Buffer,
    /// α of each cluster, f32.
    along: Buffer,
    /// The unit of its points' scales, f32.
    unit: Buffer,
    /// Rows it was learned from.
    pub(crate) fitted: usize,
}

/// The cluster of each row, and the codes of each cluster's rows.
pub(crate) struct Coded {
    pub(crate) labels: Vec<u32>,
    pub(crate) points: Vec<Points>,
}

/// Rows as the model sees them.
pub(crate) struct Projected {
    pub(crate) rows: Matrix<f32>,
    /// ‖x‖² of each.
    pub(crate) squares: Vec<f32>,
    pub(crate) kept: Kept,
}

/// One group of rows on its way.
struct Part<'a> {
    values: Vec<f32>,
    projected: &'a mut [f32],
    squares: &'a mut [f32],
}

struct Project<'a>(&'a Projection, &'a [f32], &'a mut [f32], usize);

impl Work for Project<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self(projection, values, out, stride) = self;
        let dim = projection.dim();
        projection.apply(simd, values, dim, values.len() / dim, out, stride);
    }
}

/// Reads, checks, keeps and projects rows.
pub(crate) fn project(
    rows: &dyn RowSource,
    metric: Metric,
    mut kept: Kept,
    projection: &Projection,
    control: &Control,
) -> Result<Projected, InputError> {
    let (count, dim) = (rows.len(), rows.dim());
    let mut projected = Matrix::zeroed(count, projection.outputs());
    let mut squares = vec![0.0; count];
    let stride = projected.stride();
    let parts = projected.values_mut().chunks_mut((GROUP * stride).max(1)).zip(squares.chunks_mut(GROUP));
    let parts = parts.map(|(projected, squares)| Part { values: Vec::new(), projected, squares });
    fill(rows, metric, &mut kept, parts, control, |part, r, values, _| {
        part.squares[r] = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() as f32;
        part.values.reserve(GROUP * dim);
        part.values.extend_from_slice(values);
        if r + 1 == part.squares.len() {
            run(control.level(), Project(projection, &part.values, part.projected, stride));
            part.values = Vec::new();
        }
        Ok(())
    })?;
    Ok(Projected { rows: projected, squares, kept })
}

/// s rows of `axes`, turned at random; and the leading `rank` axes as they then are.
fn turned(axes: &Matrix<f32>, rank: usize, seed: u64, control: &Control) -> (Matrix<f32>, Matrix<f32>) {
    struct Turn<'a>(&'a Matrix<f32>, &'a Matrix<f32>);
    impl Work for Turn<'_> {
        type Output = Matrix<f32>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Matrix<f32> {
            multiply(simd, self.0, self.1)
        }
    }
    let turn = rotation(axes.rows(), seed);
    let leading = transpose(&turn);
    let mut start = Matrix::zeroed(rank, axes.rows());
    (0..rank).for_each(|row| start.copy_row(row, &leading, row));
    (run(control.level(), Turn(&turn, axes)), start)
}

fn rotation(dim: usize, seed: u64) -> Matrix<f32> {
    match Dense::random(dim, seed) {
        Ok(rotation) => rotation.rows().clone(),
        // There is always at least one dimension.
        Err(_) => Matrix::zeroed(dim, dim),
    }
}

impl Model {
    /// Learns from rows.
    pub(crate) fn learn(
        rows: &dyn RowSource,
        metric: Metric,
        parameters: &Parameters,
        control: &Control,
    ) -> Result<(Self, Projected, Coded), InputError> {
        let seed = parameters.seed;
        let outputs = parameters.global_dim_for(rows.dim());
        let rank = parameters.rank.min(outputs);
        control.expect(rows.len());
        let axes = leading(rows, metric, outputs, SAMPLE, seed, control)?;
        let (turned, axes) = turned(&axes, rank, seed ^ 2, control);
        let projection = Projection::new(rounded(&turned));
        let kept = Kept::zeroed(parameters.keep, rows.len(), rows.dim());
        let projected = project(rows, metric, kept, &projection, control)?;
        let (centroids, labels) = if rows.is_empty() {
            (Centroids::new(Matrix::zeroed(1, outputs), metric), Vec::new())
        } else {
            let clusters = parameters.clusters_for(rows.len());
            let balanced = parameters.balanced;
            let kmeans = KMeans { balanced, seed: seed ^ 3, ..KMeans::new(clusters) };
            let clustering = kmeans.fit(&projected.rows, metric, 1, control)?;
            (clustering.centroids, clustering.labels)
        };
        let members = members(&labels, centroids.len());
        let mean = match metric {
            // Their centroids are of length 1, whatever the length of rows.
            Metric::Ip => {
                let apart = rows.len().div_ceil(SAMPLE).max(1);
                mean(&projected.rows, (0..rows.len()).step_by(apart).map(|row| (row, 1)))
            }
            Metric::L2 | Metric::Cosine => mean(centroids.rows(), members.iter().map(Vec::len).enumerate()),
        };
        let turn = rotation(rank, seed ^ 4);
        let start = Start { axes, turn, mean: mean.row(0).to_vec() };
        let fitted = control.map(members.iter().enumerate(), |(cluster, chosen)| {
            let members = Members { rows: &projected.rows, squares: &projected.squares, chosen };
            let centroid = centroids.rows().row(cluster);
            let fit = Fit { members, centroid, start: &start, metric, bits: parameters.bits };
            Ok::<_, Cancelled>(run(control.level(), fit))
        })?;
        let (factors, points): (Vec<Factor>, Vec<Points>) = fitted.into_iter().unzip();
        let gather = |part: &dyn Fn(&Factor) -> &[f32]| {
            let values: Vec<f32> = factors.iter().flat_map(part).copied().collect();
            Buffer::from_bytes(bytemuck::cast_slice(&values))
        };
        let codes: Vec<u8> = factors.iter().flat_map(|factor| &factor.codes).copied().collect();
        let model = Self {
            metric,
            bits: parameters.bits,
            rank,
            query_projection: QueryProjection::new(projection.rows(), mean.row(0)),
            projection,
            mean,
            centroids,
            factors: Buffer::from_bytes(&codes),
            scales: gather(&|factor| &factor.scale),
            shifts: gather(&|factor| &factor.shift),
            along: gather(&|factor| std::slice::from_ref(&factor.along)),
            unit: gather(&|factor| std::slice::from_ref(&factor.unit)),
            fitted: rows.len(),
        };
        Ok((model, projected, Coded { labels, points }))
    }

    /// Codes rows with what was learned.
    pub(crate) fn encode(&self, projected: &Projected, control: &Control) -> Result<Coded, Cancelled> {
        let nearest = self.centroids.nearest(&projected.rows, 1, control)?;
        let labels = nearest.clusters().to_vec();
        let members = members(&labels, self.clusters());
        let points = control.map(members.iter().enumerate(), |(cluster, chosen)| {
            let members = Members { rows: &projected.rows, squares: &projected.squares, chosen };
            let (centroid, along) = (self.centroids.rows().row(cluster), self.along(cluster));
            let decoded =
                if chosen.is_empty() { Matrix::zeroed(0, self.outputs()) } else { self.decoded(cluster) };
            let encode = Encode {
                members,
                residuals: residuals(members, centroid, along),
                centroid,
                along,
                decoded,
                unit: Some(self.unit(cluster)),
                metric: self.metric,
                bits: self.bits,
            };
            Ok::<_, Cancelled>(run(control.level(), encode).0)
        })?;
        Ok(Coded { labels, points })
    }

    /// s.
    pub(crate) fn outputs(&self) -> usize {
        self.projection.outputs()
    }

    pub(crate) fn clusters(&self) -> usize {
        self.centroids.len()
    }

    /// Groups of 64 rows of a factor.
    pub(crate) fn factor_groups(&self) -> usize {
        self.rank.div_ceil(GROUP)
    }

    /// One group of a cluster's factor, and its terms.
    #[inline(always)]
    pub(crate) fn factor(&self, cluster: usize, group: usize) -> (int8::Group<'_>, RowTerms<'_>) {
        let bytes = int8::group_bytes(self.bits, self.outputs());
        let at = cluster * self.factor_groups() + group;
        let codes = &self.factors.as_bytes()[at * bytes..(at + 1) * bytes];
        let (scales, _) = self.scales.as_slice::<f32>().as_chunks::<GROUP>();
        let (shifts, _) = self.shifts.as_slice::<f32>().as_chunks::<GROUP>();
        (int8::Group::new(self.bits, codes), RowTerms { scale: &scales[at], offset: &shifts[at] })
    }

    /// α.
    #[inline(always)]
    pub(crate) fn along(&self, cluster: usize) -> f32 {
        self.along.as_slice::<f32>()[cluster]
    }

    #[inline(always)]
    pub(crate) fn unit(&self, cluster: usize) -> f32 {
        self.unit.as_slice::<f32>()[cluster]
    }

    /// A cluster's A, decoded.
    fn decoded(&self, cluster: usize) -> Matrix<f32> {
        let (groups, bytes) = (self.factor_groups(), int8::group_bytes(self.bits, self.outputs()));
        let codes = &self.factors.as_bytes()[cluster * groups * bytes..][..groups * bytes];
        let scale = &self.scales.as_slice::<f32>()[cluster * groups * GROUP..][..groups * GROUP];
        rows_of(self.bits, self.rank, self.outputs(), codes, scale)
    }

    /// The vector of which `coefficients` are those in `cluster`, as well as the model knows it.
    pub(crate) fn reconstruct(&self, cluster: usize, coefficients: &[f32], out: &mut [f32]) {
        let along = self.along(cluster);
        let mut values: Vec<f32> =
            self.centroids.rows().row(cluster).iter().map(|centre| along * centre).collect();
        let decoded = self.decoded(cluster);
        for (j, &coefficient) in coefficients.iter().enumerate() {
            values.iter_mut().zip(decoded.row(j)).for_each(|(value, row)| *value += coefficient * row);
        }
        out.fill(0.0);
        for (&value, row) in values.iter().zip(0..) {
            out.iter_mut().zip(self.projection.rows().row(row)).for_each(|(out, axis)| *out += value * axis);
        }
    }

    pub(crate) fn tensors(&self) -> Vec<TensorView<'_>> {
        let (clusters, groups) = (self.clusters(), self.factor_groups());
        let tensor = |name, dtype, shape: Vec<usize>, buffer| TensorView {
            name,
            dtype,
            shape,
            bytes: Buffer::as_bytes(buffer),
        };
        let bytes = int8::group_bytes(self.bits, self.outputs());
        let padded = clusters.next_multiple_of(16);
        vec![
            self.projection.rows().tensor("projection"),
            self.mean.tensor("mean"),
            self.centroids.rows().tensor("centroids"),
            tensor("factors", Dtype::U8, vec![clusters * groups, bytes], &self.factors),
            tensor("factor_scales", Dtype::F32, vec![clusters, groups * GROUP], &self.scales),
            tensor("factor_shifts", Dtype::F32, vec![clusters, groups * GROUP], &self.shifts),
            tensor("along", Dtype::F32, vec![padded], &self.along),
            tensor("unit", Dtype::F32, vec![padded], &self.unit),
        ]
    }

    /// Takes a model of `clusters` clusters for vectors of `dim` values out of a file, and checks it.
    pub(crate) fn take(
        contents: &mut Contents,
        metric: Metric,
        parameters: &Parameters,
        dim: usize,
        control: &Control,
    ) -> Result<Self, FormatError> {
        let clusters = contents.param_usize("clusters")?;
        let fitted = contents.param_usize("fitted")?;
        let most = counterpoint_core::vectors::MAX_ROWS;
        if clusters == 0 || clusters > most {
            return Err(FormatError::content("clusters", "at least 1", clusters));
        }
        let (bits, outputs) = (parameters.bits, parameters.global_dim_for(dim));
        let rank = parameters.rank.min(outputs);
        let groups = rank.div_ceil(GROUP);
        let projection = Matrix::take(contents, "projection", outputs, dim)?;
        let mean = Matrix::take(contents, "mean", 1, outputs)?;
        let centroids = Matrix::take(contents, "centroids", clusters, outputs)?;
        projection.check_values("projection", control)?;
        mean.check_values("mean", control)?;
        centroids.check_values("centroids", control)?;
        // The shapes above were found in the file: these products cannot overflow.
        let padded = clusters.next_multiple_of(16);
        let bytes = int8::group_bytes(bits, outputs);
        let model = Self {
            metric,
            bits,
            rank,
            query_projection: QueryProjection::new(&projection, mean.row(0)),
            projection: Projection::new(projection),
            mean,
            centroids: Centroids::new(centroids, metric),
            factors: contents.take("factors", Dtype::U8, &[clusters * groups, bytes])?,
            scales: contents.take("factor_scales", Dtype::F32, &[clusters, groups * GROUP])?,
            shifts: contents.take("factor_shifts", Dtype::F32, &[clusters, groups * GROUP])?,
            along: contents.take("along", Dtype::F32, &[padded])?,
            unit: contents.take("unit", Dtype::F32, &[padded])?,
            fitted,
        };
        for (name, buffer) in [
            ("factor_scales", &model.scales),
            ("factor_shifts", &model.shifts),
            ("along", &model.along),
            ("unit", &model.unit),
        ] {
            control.check()?;
            if let Some(value) = buffer.as_slice::<f32>().iter().find(|value| !value.is_finite()) {
                return Err(FormatError::content(name, "finite values", value));
            }
        }
        Ok(model)
    }
}

/// The mean of some rows, each so often.
fn mean(rows: &Matrix<f32>, often: impl Iterator<Item = (usize, usize)>) -> Matrix<f32> {
    let mut sums = vec![0.0_f64; rows.dim()];
    let mut count = 0.0_f64;
    for (row, often) in often {
        let weight = often as f64;
        count += weight;
        let values = sums.iter_mut().zip(rows.row(row));
        values.for_each(|(sum, &value)| *sum += weight * f64::from(value));
    }
    let mut mean = Matrix::zeroed(1, rows.dim());
    mean.row_mut(0).iter_mut().zip(sums).for_each(|(to, sum)| *to = (sum / count.max(1.0)) as f32);
    mean
}

/// The rows of each cluster, rising.
fn members(labels: &[u32], clusters: usize) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); clusters];
    labels.iter().zip(0..).for_each(|(&label, row)| members[label as usize].push(row));
    members
}
