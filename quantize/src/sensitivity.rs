//! What a layer in integers costs the picture: everything else in floating point, the same seeds,
//! and the difference (as MixDQ, Zhao et al. 2024, and Apple's mixed palettes measure it).

use anyhow::Context;
use pochade::files::{Component, NewTensor};
use pochade::paint::{Paint, Painter, Painting, Request};
use std::ops::ControlFlow;

use crate::layer::Layer;
use crate::rounding::Rounded;

/// How far pictures are from those in floating point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Loss {
    /// Squared error of the latents, relative to their square.
    pub latent: f64,
    /// Mean squared error of the pictures, in squared levels of 0 to 255.
    pub picture: f64,
}

/// The pictures in floating point.
#[derive(Debug)]
pub(crate) struct Reference {
    requests: Vec<Request>,
    paintings: Vec<Painting>,
}

impl Reference {
    /// Paints them.
    pub fn paint(painter: &mut Painter, requests: Vec<Request>) -> anyhow::Result<Self> {
        let paintings = requests.iter().map(|request| paint(painter, request));
        let paintings = paintings.collect::<anyhow::Result<_>>()?;
        Ok(Self { requests, paintings })
    }

    /// What is lost when these tensors of `part` stand in the place of the model's own.
    pub fn loss(
        &self,
        painter: &mut Painter,
        part: Component,
        tensors: Vec<NewTensor>,
    ) -> anyhow::Result<Loss> {
        painter.replace(part, tensors);
        let mut loss = Loss::default();
        for (request, whole) in self.requests.iter().zip(&self.paintings) {
            let found = paint(painter, request)?;
            let share = 1.0 / self.requests.len() as f64;
            loss.latent += share * relative(&found.latent, &whole.latent);
            loss.picture += share * mean_square(found.image.as_raw(), whole.image.as_raw());
        }
        painter.replace(part, Vec::new());
        Ok(loss)
    }
}

fn paint(painter: &mut Painter, request: &Request) -> anyhow::Result<Painting> {
    Ok(painter.paint(request, &mut |_| ControlFlow::Continue(()))?)
}

/// The tensors of a layer in integers; `bias` is the one that it has in floating point.
pub(crate) fn tensors(
    layer: &Layer,
    rounded: &Rounded,
    bias: Option<&[f32]>,
) -> anyhow::Result<Vec<NewTensor>> {
    let mut tensors = NewTensor::panels(&format!("{}.weight", layer.name), &rounded.filter);
    if let Some(at) = rounded.split {
        let name = format!("{}.split", layer.weight());
        let tensor = NewTensor::of_f32(name, vec![1], &[at as f32]);
        tensors.push(tensor.context("a number is a vector")?);
    }
    if let Some((shift, bias)) = rounded.bias_shift.as_ref().zip(bias) {
        let shifted: Vec<f32> = bias.iter().zip(shift).map(|(b, s)| b + s).collect();
        let tensor =
            NewTensor::of_f32(format!("{}.bias", layer.name), vec![shifted.len()], &shifted);
        tensors.push(tensor.context("a bias is a vector")?);
    }
    Ok(tensors)
}

fn relative(found: &[f32], whole: &[f32]) -> f64 {
    let square = |v: f32| f64::from(v) * f64::from(v);
    let lost: f64 = found.iter().zip(whole).map(|(a, b)| square(a - b)).sum();
    lost / whole.iter().map(|v| square(*v)).sum::<f64>().max(f64::MIN_POSITIVE)
}

fn mean_square(found: &[u8], whole: &[u8]) -> f64 {
    let lost: u64 = found.iter().zip(whole).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    lost as f64 / whole.len().max(1) as f64
}
