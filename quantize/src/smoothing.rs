//! Smoothing (SmoothQuant, Xiao et al. 2023): what a norm puts out is divided channel by channel,
//! what reads it is multiplied, so that no channel takes the levels from the others. Both are folded
//! into the weights that are there; nothing is computed in addition.
//!
//! This works where layers read a norm with nothing between: the transformers' layer norms, and the
//! group norms in front of their projections. Convolutions read a norm through SiLU.

use anyhow::Context;
use pochade::files::{Component, ModelFiles, NewTensor};

use crate::calibrate::Samples;
use crate::layer::Layer;

/// Channels are not scaled beyond this, up or down.
const MOST: f32 = 16.0;

/// A norm, and all layers that read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub part: Component,
    /// Canonical name of the norm.
    pub norm: String,
    /// Canonical names of the layers.
    pub layers: Vec<String>,
}

/// Ends of names: of a norm, and of what reads it.
const READERS: [(&str, &[&str]); 8] = [
    (".norm1", &[".attn1.to_q", ".attn1.to_k", ".attn1.to_v"]),
    (".norm2", &[".attn2.to_q"]),
    (".norm3", &[".ff.net.0.proj"]),
    (".norm", &[".proj_in"]),
    (".norm", &[".q", ".k", ".v"]),
    (".norm", &[".qkv"]),
    (".layer_norm1", &[".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj"]),
    (".layer_norm2", &[".mlp.fc1"]),
];

/// The groups among `layers` whose layers are all there.
pub(crate) fn groups(layers: &[Layer]) -> Vec<Group> {
    let has = |part, name: &str| layers.iter().any(|l| l.part == part && l.name == name);
    let group = |layer: &Layer, (norm, readers): &(&str, &[&str])| {
        let stem = layer.name.strip_suffix(readers[0])?;
        let names: Vec<String> = readers.iter().map(|end| format!("{stem}{end}")).collect();
        let whole = names.iter().all(|name| has(layer.part, name));
        // Without a context, the second attention reads its norm three times.
        let more = *norm == ".norm2" && has(layer.part, &format!("{stem}.attn2.to_k")) && {
            let width = |name: &str| layers.iter().find(|l| l.name == name).map(|l| l.size[1]);
            width(&format!("{stem}.attn2.to_k")) == Some(layer.size[1])
        };
        (whole && !more).then(|| Group {
            part: layer.part,
            norm: format!("{stem}{norm}"),
            layers: names,
        })
    };
    layers.iter().flat_map(|layer| READERS.iter().filter_map(move |r| group(layer, r))).collect()
}

/// What every channel of the norm's output is divided by: half of the difficulty goes to the weights.
/// `weights` are those of all layers, `[outputs][channels]`.
pub(crate) fn scales(samples: &Samples, weights: &[&[f32]], channels: usize) -> Vec<f32> {
    let mut largest = vec![0.0_f32; channels];
    let widen = |largest: &mut [f32], rows: &[f32]| {
        for row in rows.chunks_exact(channels) {
            largest.iter_mut().zip(row).for_each(|(m, v)| *m = m.max(v.abs()));
        }
    };
    widen(&mut largest, &samples.fitted);
    let mut widest = vec![0.0_f32; channels];
    weights.iter().for_each(|rows| widen(&mut widest, rows));
    let ratio = |(x, w): (&f32, &f32)| if *x > 0.0 && *w > 0.0 { (x / w).sqrt() } else { 0.0 };
    let mut scales: Vec<f32> = largest.iter().zip(&widest).map(ratio).collect();
    let seen = scales.iter().filter(|s| **s > 0.0).count().max(1);
    let mean = (scales.iter().sum::<f32>() / seen as f32).max(f32::MIN_POSITIVE);
    for scale in &mut scales {
        *scale = if *scale > 0.0 { (*scale / mean).clamp(1.0 / MOST, MOST) } else { 1.0 };
    }
    scales
}

/// Samples of the smoothed norm.
pub(crate) fn divided(samples: &Samples, scales: &[f32]) -> Samples {
    let divide = |rows: &[f32]| {
        rows.iter().zip(scales.iter().cycle()).map(|(v, s)| v / s).collect::<Vec<_>>()
    };
    Samples {
        fitted: divide(&samples.fitted),
        held_out: divide(&samples.held_out),
        spans: samples.spans.clone(),
        joined_at: samples.joined_at,
        bucket_of: samples.bucket_of.clone(),
        buckets: samples.buckets,
    }
}

/// Weights `[outputs][channels]` for a smoothed input.
pub(crate) fn multiplied(weights: &[f32], scales: &[f32]) -> Vec<f32> {
    weights.iter().zip(scales.iter().cycle()).map(|(w, s)| w * s).collect()
}

/// The norm with the scales folded in.
pub(crate) fn norm(
    model: &ModelFiles,
    group: &Group,
    scales: &[f32],
) -> anyhow::Result<Vec<NewTensor>> {
    let weights = model.weights(group.part)?;
    let tensor = |kind: &str| {
        let name = format!("{}.{kind}", group.norm);
        let values = weights.view(&name)?.to_f32();
        let values: Vec<f32> = values.iter().zip(scales).map(|(v, s)| v / s).collect();
        NewTensor::of_f32(name, vec![values.len()], &values).context("a norm is made of vectors")
    };
    ["weight", "bias"].into_iter().map(tensor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, channels: usize) -> Layer {
        let (size, shape) = ([8, channels, 1, 1], vec![8, channels]);
        Layer { part: Component::Unet, name: name.to_owned(), size, shape, bias: false }
    }

    #[test]
    fn a_group_is_a_norm_with_all_that_reads_it() {
        let names = ["b.attn1.to_q", "b.attn1.to_k", "b.attn1.to_v", "b.attn2.to_q"];
        let mut layers: Vec<Layer> = names.iter().map(|name| layer(name, 8)).collect();
        layers.push(layer("b.attn2.to_k", 5));
        let found = groups(&layers);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].norm.as_str(), found[0].layers.len()), ("b.norm1", 3));
        assert_eq!((found[1].norm.as_str(), found[1].layers.len()), ("b.norm2", 1));
    }

    #[test]
    fn a_norm_that_something_else_reads_too_is_left_alone() {
        let names = ["b.attn1.to_q", "b.attn1.to_k", "b.attn2.to_q", "b.attn2.to_k"];
        let layers: Vec<Layer> = names.iter().map(|name| layer(name, 8)).collect();
        assert_eq!(groups(&layers), []);
    }

    #[test]
    fn products_stay_what_they_are() {
        let samples = Samples { fitted: vec![1.0, 100.0, -2.0, 50.0], ..Samples::default() };
        let weights = [0.5, 0.25, 1.0, -0.125];
        let scales = scales(&samples, &[&weights], 2);
        assert!(scales[1] > scales[0]);
        let (x, w) = (divided(&samples, &scales), multiplied(&weights, &scales));
        let dot = |a: &[f32], b: &[f32]| a[0] * b[0] + a[1] * b[1];
        for (row, whole) in x.fitted.chunks_exact(2).zip(samples.fitted.chunks_exact(2)) {
            assert!((dot(row, &w[..2]) - dot(whole, &weights[..2])).abs() < 1e-4);
        }
    }
}
