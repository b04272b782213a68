//! `pochade daemon`: a kiosk on this machine. `pochade validate-config`: what its configuration means.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use jiff::Zoned;

use super::Console;
#[cfg(feature = "mqtt")]
use crate::daemon::Mqtt;
#[cfg(feature = "web")]
use crate::daemon::web;
use crate::daemon::{Config, Desk, Kiosk, Moment, System, buttons, signals};

/// Where the configuration is unless said otherwise.
const CONFIG: &str = "/etc/pochade/pochade.toml";
/// Prompts that are shown of every playlist.
const EXAMPLES: usize = 3;

/// Where the daemon's configuration is.
#[derive(Clone, Debug, Args)]
pub struct DaemonArgs {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

/// Runs until it is told to stop.
pub(super) fn daemon(args: &DaemonArgs) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let desk = Desk::default();
    signals::listen(desk.clone())?;
    let buttons = config.buttons.clone();
    #[cfg(feature = "web")]
    let web = config.web.clone();
    #[cfg(feature = "mqtt")]
    let mqtt = config.mqtt.clone();
    let kiosk = Kiosk::open(System::default(), Some(&args.config), config, desk);
    let mut kiosk = kiosk.map_err(|error| anyhow!(error))?;
    buttons::listen(&buttons, &kiosk.handle()).map_err(|error| anyhow!(error))?;
    #[cfg(feature = "web")]
    let server = web.map(|settings| web::start(&settings, kiosk.handle())).transpose();
    #[cfg(feature = "web")]
    let _server = server.map_err(|problem| anyhow!(problem))?;
    #[cfg(feature = "mqtt")]
    let mqtt = mqtt.map(|settings| Mqtt::start(&settings, kiosk.handle())).transpose()?;
    kiosk.run();
    #[cfg(feature = "mqtt")]
    mqtt.into_iter().for_each(Mqtt::stop);
    Ok(())
}

/// Says what a configuration means, with prompts as they might be made now.
pub(super) fn validate(args: &DaemonArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let (out, schedule) = (&mut *console.out, &config.schedule);
    writeln!(out, "{} can be used.", args.config.display())?;
    match &config.model {
        Some(path) => writeln!(out, "model: {}", path.display())?,
        None => writeln!(out, "model: the one in the binary")?,
    }
    match &config.screen {
        Some(screen) => writeln!(out, "screen: {}", screen.kind)?,
        None => writeln!(out, "screen: none; pictures go to the gallery alone")?,
    }
    let between = schedule.between.map(|b| format!(", {b}")).unwrap_or_default();
    writeln!(out, "a new picture every {:?}{between}", schedule.every)?;
    let keep = config.keep;
    writeln!(
        out,
        "gallery: {}, {} pictures of {} MB at most, {} MB left free",
        config.gallery.display(),
        keep.pictures,
        keep.bytes / 1_000_000,
        keep.free / 1_000_000
    )?;
    #[cfg(feature = "web")]
    writeln!(out, "page: {}", page(config.web.as_ref())?)?;
    #[cfg(feature = "mqtt")]
    if let Some(mqtt) = &config.mqtt {
        let name = mqtt.own_name().map_err(|problem| anyhow!(problem))?;
        writeln!(out, "mqtt: {}, port {}, as {name}", mqtt.broker, mqtt.port)?;
    }
    let moment = Moment { now: Zoned::now(), southern: schedule.southern };
    let now = schedule.playlist(moment.now.time());
    // The same at every call, so that a change is seen.
    let mut random = fastrand::Rng::with_seed(0);
    for (name, templates) in &schedule.playlists {
        let mark = if name == now { ", now" } else { "" };
        writeln!(out, "playlist {name}{mark}:")?;
        for template in templates.iter().cycle().take(EXAMPLES.max(templates.len())) {
            let prompt = config.words.fill(template, &moment, &mut random);
            let refused = config.rules.guard.refused(&prompt);
            let refused = refused.map(|word| format!("  (never: '{word}')")).unwrap_or_default();
            writeln!(out, "  {prompt}{refused}")?;
        }
    }
    Ok(())
}

/// Where the page is, and for whom.
#[cfg(feature = "web")]
fn page(settings: Option<&web::WebSettings>) -> anyhow::Result<String> {
    let Some(settings) = settings else { return Ok("none".to_owned()) };
    let token = settings.read_token().map_err(|problem| anyhow!(problem))?;
    let whom = if token.is_some() { "whoever knows the token" } else { "this machine alone" };
    Ok(format!("http://{}, for {whom}", settings.listen))
}
