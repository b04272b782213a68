//! The Fréchet distance between two sets of features, taken for normal distributions (Heusel et al.
//! 2017): `|m1 - m2|^2 + tr(C1 + C2 - 2 sqrt(C1 C2))`.

/// Mean and covariance of a set of features, in `f64`.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// `[n]`.
    pub mean: Vec<f64>,
    /// `[n, n]`, symmetric.
    pub covariance: Vec<f64>,
}

impl Moments {
    /// Of a set of at least two; the covariance is over one less than their number.
    pub fn of(features: &[Vec<f32>]) -> Self {
        let width = features.first().map_or(0, Vec::len);
        let count = features.len().max(2) as f64;
        let mut mean = vec![0.0; width];
        for row in features {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        mean.iter_mut().for_each(|sum| *sum /= features.len().max(1) as f64);
        let mut covariance = vec![0.0; width * width];
        for row in features {
            let from_mean = |i: usize| f64::from(row[i]) - mean[i];
            for i in 0..width {
                let a = from_mean(i);
                let line = &mut covariance[i * width..(i + 1) * width];
                line.iter_mut().enumerate().for_each(|(j, sum)| *sum += a * from_mean(j));
            }
        }
        covariance.iter_mut().for_each(|sum| *sum /= count - 1.0);
        Self { mean, covariance }
    }

    /// The distance to another set of as many features.
    pub fn distance(&self, other: &Self) -> f64 {
        let width = self.mean.len();
        let squares = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b) * (a - b));
        let root = square_root(&self.covariance, width);
        let middle = product(&product(&root, &other.covariance, width), &root, width);
        let (values, _) = eigen(middle, width);
        let cross: f64 = values.iter().map(|value| value.max(0.0).sqrt()).sum();
        let trace = |m: &[f64]| m.iter().step_by(width + 1).sum::<f64>();
        squares.sum::<f64>() + trace(&self.covariance) + trace(&other.covariance) - 2.0 * cross
    }
}

/// The square root of a symmetric matrix whose negative eigenvalues are rounding.
fn square_root(matrix: &[f64], n: usize) -> Vec<f64> {
    let (values, vectors) = eigen(matrix.to_vec(), n);
    let mut root = vec![0.0; n * n];
    for (k, value) in values.iter().enumerate() {
        let length = value.max(0.0).sqrt();
        for i in 0..n {
            let scaled = length * vectors[i * n + k];
            for j in 0..n {
                root[i * n + j] += scaled * vectors[j * n + k];
            }
        }
    }
    root
}

fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * n];
    for i in 0..n {
        for (k, factor) in a[i * n..(i + 1) * n].iter().enumerate() {
            let row = &b[k * n..(k + 1) * n];
            let sums = out[i * n..(i + 1) * n].iter_mut();
            sums.zip(row).for_each(|(sum, value)| *sum += factor * value);
        }
    }
    out
}

/// Eigenvalues and eigenvectors (columns) of a symmetric matrix, by Jacobi's rotations: slow for
/// large ones, and short.
fn eigen(mut matrix: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    const SWEEPS: usize = 30;
    let mut vectors = vec![0.0; n * n];
    (0..n).for_each(|i| vectors[i * n + i] = 1.0);
    let size: f64 = matrix.iter().map(|v| v * v).sum();
    for _ in 0..SWEEPS {
        let pairs = (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q)));
        let beside: f64 = pairs.clone().map(|(p, q)| matrix[p * n + q].powi(2)).sum();
        if beside <= 1e-24 * size {
            break;
        }
        for (p, q) in pairs {
            if let Some(turn) = rotation(&matrix, n, (p, q)) {
                rotate_columns(&mut matrix, n, (p, q), turn);
                rotate_rows(&mut matrix, n, (p, q), turn);
                rotate_columns(&mut vectors, n, (p, q), turn);
            }
        }
    }
    (matrix.iter().step_by(n + 1).copied().collect(), vectors)
}

/// Cosine and sine of the turn that makes the matrix zero at `(p, q)`; none where it is.
fn rotation(matrix: &[f64], n: usize, (p, q): (usize, usize)) -> Option<(f64, f64)> {
    let beside = matrix[p * n + q];
    if beside == 0.0 {
        return None;
    }
    let ratio = (matrix[q * n + q] - matrix[p * n + p]) / (2.0 * beside);
    let tangent = ratio.signum() / (ratio.abs() + (ratio * ratio + 1.0).sqrt());
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    Some((cosine, tangent * cosine))
}

fn rotate_columns(matrix: &mut [f64], n: usize, (p, q): (usize, usize), (c, s): (f64, f64)) {
    for row in matrix.chunks_exact_mut(n) {
        (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
    }
}

fn rotate_rows(matrix: &mut [f64], n: usize, (p, q): (usize, usize), (c, s): (f64, f64)) {
    for j in 0..n {
        let (a, b) = (matrix[p * n + j], matrix[q * n + j]);
        (matrix[p * n + j], matrix[q * n + j]) = (c * a - s * b, s * a + c * b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn distributions_that_only_moved_are_as_far_apart_as_they_moved() {
        let set: Vec<Vec<f32>> = (0..20).map(|i| vec![i as f32, (i * i % 7) as f32]).collect();
        let moved: Vec<Vec<f32>> = set.iter().map(|v| vec![v[0] + 3.0, v[1] - 4.0]).collect();
        let (a, b) = (Moments::of(&set), Moments::of(&moved));
        assert!((a.distance(&b) - 25.0).abs() < 1e-9);
        assert!(a.distance(&a).abs() < 1e-9);
    }

    #[test]
    fn along_one_axis_it_is_that_of_normal_distributions() {
        let a = Moments { mean: vec![1.0], covariance: vec![4.0] };
        let b = Moments { mean: vec![3.0], covariance: vec![9.0] };
        assert!((a.distance(&b) - 5.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn a_root_squared_is_the_matrix_again(values in prop::collection::vec(-2f64..2.0, 25)) {
            let transposed: Vec<f64> = (0..25).map(|i| values[i % 5 * 5 + i / 5]).collect();
            let matrix = product(&values, &transposed, 5);
            let root = square_root(&matrix, 5);
            for (found, wanted) in product(&root, &root, 5).iter().zip(&matrix) {
                prop_assert!((found - wanted).abs() < 1e-6, "{} {}", found, wanted);
            }
        }
    }
}
