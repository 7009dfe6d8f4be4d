//! Recall against exact truth.

/// recall@k counting ties: the share of the k places per query that hold a vector no farther than the k-th
/// true neighbour.
///
/// `truth` holds the exact distances of the k true neighbours of each query, nearest first; `found` the exact
/// distances of what was returned (not a method's estimates), in any order, `width` of them a query. A distance
/// counts if it is at most the k-th true one, widened by `tolerance` relative to its size (for distances that
/// were summed in another order; 0 where they were not). At most k count.
///
/// # Panics
/// If a slice is not whole rows, or `k` is 0 while there is truth.
pub fn recall(truth: &[f32], k: usize, found: &[f32], width: usize, tolerance: f32) -> f64 {
    if truth.is_empty() {
        return 1.0;
    }
    assert!(truth.len().is_multiple_of(k), "truth is whole rows of k");
    let queries = truth.len() / k;
    assert_eq!(found.len(), queries * width, "found is one row for each row of truth");
    let mut hits = 0;
    for (query, truth) in truth.chunks_exact(k).enumerate() {
        let farthest = truth[k - 1];
        let limit = farthest + tolerance * farthest.abs().max(1.0);
        let found = &found[query * width..(query + 1) * width];
        hits += found.iter().filter(|&&distance| distance <= limit).count().min(k);
    }
    hits as f64 / truth.len() as f64
}

#[cfg(test)]
mod tests {
    use super::recall;

    #[test]
    fn ties_count_and_no_more_than_k_do() {
        let truth = [1.0, 2.0, 2.0, 1.0, 1.0, 3.0];
        assert_eq!(recall(&truth, 3, &[2.0, 2.0, 1.0, 3.0, 3.0, 1.0], 3, 0.0), 1.0);
        assert_eq!(recall(&truth, 3, &[2.0, 2.5, 1.0, 4.0, 4.0, 4.0], 3, 0.0), 2.0 / 6.0);
        assert_eq!(recall(&truth, 3, &[1.0; 10], 5, 0.0), 1.0);
        assert_eq!(recall(&truth, 3, &[], 0, 0.0), 0.0);
        assert_eq!(recall(&[], 10, &[], 10, 0.0), 1.0);
    }

    #[test]
    fn the_tolerance_is_relative_above_one() {
        assert_eq!(recall(&[100.0], 1, &[100.5], 1, 0.01), 1.0);
        assert_eq!(recall(&[100.0], 1, &[102.0], 1, 0.01), 0.0);
    }
}
