//! What the errors of a layer's weights come to: `|X e|^2 = |M e|^2` with `M` lower triangular.
//!
//! `X: [rows][columns]` are samples, `H = X^T X` their correlations and `M^T M = H`, found by
//! Cholesky's method from the last column on. Row `j` of `M` says how much of the error in the
//! columns before `j` the weight of column `j` can take back. A little is added to the diagonal, so
//! that columns that were never seen have their say.
//!
//! Kernels of many channels are taken tap by tap: the correlations of 9 x 2560 columns would take
//! gigabytes.

use std::ops::Range;

use pochade_engine::Engine;

use super::matrix::{Matrix, times_transposed};

/// Columns that are taken together at most.
const MOST_COLUMNS: usize = 4608;
/// What is added to the diagonal, as part of its mean.
const DAMPING: f64 = 0.01;
/// Columns of Cholesky's method that are worked on at a time, to stay in the cache.
const BLOCK: usize = 64;

/// Triangular factors of the correlations.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    /// Columns of one block.
    size: usize,
    /// Of every block, `M: [size][size]`.
    blocks: Vec<Vec<f32>>,
}

impl Factor {
    /// The factor for samples `[rows][taps][channels]`.
    pub fn new(
        engine: &mut Engine,
        samples: &[f32],
        (taps, channels): (usize, usize),
    ) -> anyhow::Result<Self> {
        let columns = taps * channels;
        let size = if columns <= MOST_COLUMNS { columns } else { channels };
        let block = |first: usize| {
            let transposed = transposed(samples, columns, first..first + size);
            let rows = Matrix { values: &transposed, columns: samples.len() / columns };
            Ok(triangle(&times_transposed(engine, rows, rows)?, size))
        };
        let blocks = (0..columns).step_by(size).map(block).collect::<anyhow::Result<_>>()?;
        Ok(Self { size, blocks })
    }

    /// Columns of one block; errors are not taken from one block to another.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Row `column` of `M` up to its diagonal; the columns of all blocks are counted through.
    pub fn row(&self, column: usize) -> &[f32] {
        let (block, j) = (column / self.size, column % self.size);
        &self.blocks[block][j * self.size..][..=j]
    }
}

/// Some columns of `[rows][columns]` as rows.
fn transposed(samples: &[f32], columns: usize, wanted: Range<usize>) -> Vec<f32> {
    let mut rows = Vec::with_capacity(samples.len() / columns * wanted.len());
    for column in wanted {
        rows.extend(samples.iter().skip(column).step_by(columns));
    }
    rows
}

/// `M: [size][size]` with `M^T M = H + damping`.
fn triangle(correlations: &[f32], size: usize) -> Vec<f32> {
    // Both orders reversed, so that Cholesky's method starts with the last column.
    let mut a: Vec<f64> = correlations.iter().rev().map(|v| f64::from(*v)).collect();
    let diagonal = |a: &[f64], i: usize| a[i * size + i];
    let mean = (0..size).map(|i| diagonal(&a, i)).sum::<f64>() / size as f64;
    let damping = (DAMPING * mean).max(f64::from(f32::MIN_POSITIVE));
    (0..size).for_each(|i| a[i * size + i] += damping);
    cholesky(&mut a, size);
    let at = |j: usize, k: usize| a[(size - 1 - k) * size + size - 1 - j] as f32;
    (0..size * size).map(|i| (i / size, i % size)).map(|(j, k)| at(j, k)).collect()
}

/// Replaces the lower triangle of a symmetric positive matrix by `L` with `L L^T` equal to it.
fn cholesky(a: &mut [f64], size: usize) {
    for first in (0..size).step_by(BLOCK) {
        let end = (first + BLOCK).min(size);
        factor_panel(a, size, first..end);
        // [columns of the panel][rows below], for products along rows.
        let below = size - end;
        let mut panel = vec![0.0; (end - first) * below];
        for (k, column) in (first..end).enumerate() {
            for row in end..size {
                panel[k * below + row - end] = a[row * size + column];
            }
        }
        for row in end..size {
            let (left, right) = a[row * size..(row + 1) * size].split_at_mut(end);
            let right = &mut right[..=row - end];
            for (k, factor) in left[first..].iter().enumerate() {
                let line = &panel[k * below..];
                right.iter_mut().zip(line).for_each(|(v, l)| *v -= factor * l);
            }
        }
    }
}

/// The columns of one panel, from the diagonal down.
fn factor_panel(a: &mut [f64], size: usize, columns: Range<usize>) {
    for j in columns.clone() {
        let pivot = a[j * size + j].max(f64::from(f32::MIN_POSITIVE)).sqrt();
        a[j * size + j] = pivot;
        for i in j + 1..size {
            a[i * size + j] /= pivot;
            let factor = a[i * size + j];
            for k in j + 1..columns.end.min(i + 1) {
                a[i * size + k] -= factor * a[k * size + j];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_measures_errors_as_the_samples_do() {
        let (size, rows) = (130, 300);
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let samples: Vec<f32> = (0..rows * size).map(|_| random()).collect();
        let errors: Vec<f32> = (0..size).map(|_| random()).collect();
        let mut engine = Engine::new(Some(1)).expect("an engine");
        let factor = Factor::new(&mut engine, &samples, (1, size)).expect("a factor");
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let direct: f64 = samples.chunks_exact(size).map(|row| dot(row, &errors).powi(2)).sum();
        let squares: f64 = samples.iter().map(|v| f64::from(*v).powi(2)).sum();
        let damped = direct + DAMPING * squares / size as f64 * dot(&errors, &errors);
        let found: f64 = (0..size).map(|j| dot(factor.row(j), &errors).powi(2)).sum();
        assert!((found / damped - 1.0).abs() < 1e-4, "{found} against {damped}");
    }
}
