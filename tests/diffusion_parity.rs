//! Schedules, samplers and noise are diffusers' and PyTorch's: full trajectories against
//! `fixtures/diffusion`, written by `fixtures/make_diffusion.py`.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be read fails the test")]

use pochade::diffusion::{
    Sampler, SamplerSettings, Schedule, SchedulerConfig, TorchRng, sampler as build,
};
use serde_json::Value;

fn fixture(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/fixtures/diffusion/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn count(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// The largest difference, relative to the largest number.
fn relative_error(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(1e-30_f32, |most, v| most.max(v.abs()));
    difference(found, wanted) / largest
}

fn difference(found: &[f32], wanted: &[f32]) -> f32 {
    assert!(found.iter().all(|v| v.is_finite()), "{found:?}");
    found.iter().zip(wanted).fold(0.0, |most, (f, w)| most.max((f - w).abs()))
}

/// The stand-in network of `make_diffusion.py`.
fn network(input: &[f32], timestep: f32) -> Vec<f32> {
    let output =
        |(k, x): (usize, &f32)| x * 0.3 + ((k + 1) as f32 * 0.1) * (timestep / 1000.0) - 0.05;
    input.iter().enumerate().map(output).collect()
}

/// The latents after every step, from the start that the case gives.
fn run(sampler: &mut dyn Sampler, case: &Value) -> Vec<Vec<f32>> {
    let mut noise = case["noise"].as_array().unwrap().iter();
    let mut draw = |out: &mut [f32]| out.copy_from_slice(&floats(noise.next().unwrap()));
    let sigma = sampler.init_noise_sigma();
    let mut x: Vec<f32> = floats(&case["start"]).iter().map(|v| v * sigma).collect();
    let mut input = vec![0.0; x.len()];
    let mut latents = Vec::new();
    for i in 0..sampler.len() {
        sampler.scale_input(i, &x, &mut input);
        let output = network(&input, sampler.timestep(i));
        sampler.step(i, &output, &mut x, &mut draw);
        latents.push(x.clone());
    }
    assert!(noise.next().is_none(), "noise left over");
    latents
}

#[test]
fn every_sampler_follows_the_trajectory_of_diffusers() {
    let mut worst = 0.0_f32;
    for case in fixture("runs.json") {
        let label = format!("{} {} {} steps", case["config"], case["sampler"], case["steps"]);
        let config = SchedulerConfig::from_diffusers(&case["config"]).unwrap();
        let kind = case["sampler"].as_str().unwrap().parse().unwrap();
        assert_eq!(config.sampler, kind, "{label}");
        let eta = case["eta"].as_f64().unwrap() as f32;
        let settings = SamplerSettings { kind, steps: count(&case["steps"]), eta };
        let mut sampler = build(&config, settings).unwrap();
        let wanted = case["latents"].as_array().unwrap();
        let timesteps: Vec<f32> = (0..sampler.len()).map(|i| sampler.timestep(i)).collect();
        let error = relative_error(&timesteps, &floats(&case["timesteps"]));
        assert!(error <= 1e-6, "{label}: timesteps {timesteps:?} {error:e}");
        let sigma = case["init_noise_sigma"].as_f64().unwrap() as f32;
        assert!((sampler.init_noise_sigma() - sigma).abs() <= 1e-6 * sigma, "{label}");
        let found = run(sampler.as_mut(), &case);
        for (step, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let error = relative_error(found, &floats(wanted));
            assert!(error <= 1e-5, "{label}: step {step} is off by {error:e}");
            worst = worst.max(error);
        }
        if !case["denoised"].is_null() {
            let error = relative_error(sampler.denoised(), &floats(&case["denoised"]));
            assert!(error <= 1e-5, "{label}: the clean latent is off by {error:e}");
        }
    }
    println!("worst relative error: {worst:e}");
}

#[test]
fn every_schedule_keeps_as_much_signal_as_in_diffusers() {
    let mut worst = 0.0_f32;
    for case in fixture("schedules.json") {
        let config = SchedulerConfig::from_diffusers(&case["config"]).unwrap();
        let schedule: Schedule = config.schedule();
        let kept = case["timesteps"].as_array().unwrap().iter().map(count);
        let found: Vec<f32> = kept.map(|t| schedule.alphas_cumprod()[t]).collect();
        for (found, wanted) in found.iter().zip(floats(&case["alphas_cumprod"])) {
            let error = (found - wanted).abs() / wanted.max(1e-30);
            assert!(error <= 1e-6, "{}: {found} for {wanted}", case["config"]);
            worst = worst.max(error);
        }
    }
    println!("worst relative error: {worst:e}");
}

#[test]
fn noise_is_that_of_pytorch_for_every_size_and_seed() {
    let (mut worst, mut differing, mut all) = (0.0_f32, 0, 0);
    for case in fixture("noise.json") {
        let mut rng = TorchRng::new(case["seed"].as_u64().unwrap());
        for draw in case["draws"].as_array().unwrap() {
            let mut values = vec![0.0; count(&draw["size"])];
            rng.randn(&mut values);
            let kept = draw["kept"].as_array().unwrap().iter().map(count);
            let found: Vec<f32> = kept.map(|k| values[k]).collect();
            let wanted = floats(&draw["values"]);
            let error = difference(&found, &wanted);
            assert!(error <= 2e-6, "seed {} size {}: {error:e}", case["seed"], draw["size"]);
            worst = worst.max(error);
            differing += found.iter().zip(&wanted).filter(|(f, w)| f != w).count();
            all += found.len();
        }
    }
    println!("worst difference: {worst:e}; {differing} of {all} differ");
}

/// A number that changes with any bit of any value.
fn fingerprint(values: &[f32]) -> u64 {
    let mix = |hash: u64, v: &f32| (hash ^ u64::from(v.to_bits())).wrapping_mul(0x100_0000_01b3);
    values.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

#[test]
fn noise_and_trajectories_have_the_same_bits_on_every_platform() {
    let mut noise = vec![0.0; 4099];
    TorchRng::new(42).randn(&mut noise);
    let mut all = vec![fingerprint(&noise)];
    for case in fixture("runs.json") {
        let config = SchedulerConfig::from_diffusers(&case["config"]).unwrap();
        let eta = case["eta"].as_f64().unwrap() as f32;
        let settings = SamplerSettings { kind: config.sampler, steps: count(&case["steps"]), eta };
        let mut sampler = build(&config, settings).unwrap();
        all.push(fingerprint(&run(sampler.as_mut(), &case).concat()));
    }
    insta::assert_snapshot!(all.iter().map(|f| format!("{f:016x}\n")).collect::<String>());
}
