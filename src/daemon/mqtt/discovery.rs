//! What Home Assistant is told about the kiosk, so that it shows up there as a device by itself.
//!
//! One retained message announces the device with all its entities (Home Assistant's documentation of
//! the MQTT integration, "Device discovery payload").

use serde_json::{Value, json};

use super::topics::Topics;

/// Presence, as Home Assistant expects it by default.
pub(super) const ONLINE: &str = "online";
/// See [`ONLINE`].
pub(super) const OFFLINE: &str = "offline";

/// The topic and the payload that announce a kiosk.
pub(super) fn announcement(prefix: &str, topics: &Topics) -> (String, Value) {
    let id = format!("pochade_{}", topics.name());
    let topic = format!("{prefix}/device/{id}/config");
    let entity = |platform: &str, key: &str, more: Value| {
        let mut entity = json!({"platform": platform, "unique_id": format!("{id}_{key}")});
        if let (Value::Object(entity), Value::Object(more)) = (&mut entity, more) {
            entity.extend(more);
        }
        (key.to_owned(), entity)
    };
    let entities = [
        entity("image", "picture", picture(topics)),
        entity("text", "prompt", prompt(topics)),
        entity("button", "next", button("Next picture", "mdi:skip-next", &topics.next())),
        entity("button", "interrupt", button("Interrupt", "mdi:stop", &topics.interrupt())),
        entity("sensor", "status", status()),
        entity("sensor", "progress", progress()),
        entity("sensor", "temperature", temperature()),
    ];
    let payload = json!({
        "device": {
            "identifiers": [id],
            "name": format!("Pochade {}", topics.name()),
            "manufacturer": "Pochade",
            "model": "Kiosk",
            "sw_version": env!("CARGO_PKG_VERSION"),
        },
        "origin": {
            "name": "pochade",
            "sw_version": env!("CARGO_PKG_VERSION"),
            "support_url": env!("CARGO_PKG_REPOSITORY"),
        },
        "availability_topic": topics.presence(),
        "state_topic": topics.state(),
        "components": Value::Object(entities.into_iter().collect()),
    });
    (topic, payload)
}

/// The entity that has the device's name alone.
fn picture(topics: &Topics) -> Value {
    json!({"name": null, "image_topic": topics.picture(), "content_type": "image/png"})
}

/// A text in Home Assistant has 255 characters at most.
fn prompt(topics: &Topics) -> Value {
    json!({
        "name": "Prompt",
        "icon": "mdi:brush",
        "command_topic": topics.prompt(),
        "value_template": "{{ (value_json.prompt or '')[:255] }}",
        "max": 255,
    })
}

fn button(name: &str, icon: &str, topic: &str) -> Value {
    json!({"name": name, "icon": icon, "command_topic": topic})
}

fn status() -> Value {
    json!({
        "name": "Status",
        "icon": "mdi:palette",
        "value_template": "{{ value_json.status[:255] }}",
    })
}

fn progress() -> Value {
    json!({
        "name": "Progress",
        "icon": "mdi:progress-clock",
        "unit_of_measurement": "%",
        "value_template": "{{ value_json.progress }}",
    })
}

/// A machine without a thermometer has no number there, which Home Assistant shows as unknown.
fn temperature() -> Value {
    json!({
        "name": "Temperature",
        "device_class": "temperature",
        "state_class": "measurement",
        "unit_of_measurement": "°C",
        "entity_category": "diagnostic",
        "value_template": "{{ value_json.temperature }}",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Home Assistant's documentation requires of each kind of entity, besides `platform` and
    /// `unique_id`.
    const REQUIRED: [(&str, &str); 4] = [
        ("image", "image_topic"),
        ("text", "command_topic"),
        ("button", "command_topic"),
        ("sensor", "value_template"),
    ];

    #[test]
    fn the_announcement_has_what_home_assistant_requires() {
        let (topic, payload) = announcement("homeassistant", &Topics::new("pochade", "hall"));
        assert_eq!(topic, "homeassistant/device/pochade_hall/config");
        assert!(payload["device"]["identifiers"][0].is_string());
        assert!(payload["origin"]["name"].is_string());
        assert!(payload["state_topic"].is_string(), "sensors have one in common");
        for (key, entity) in payload["components"].as_object().unwrap() {
            let platform = entity["platform"].as_str().unwrap();
            let (_, required) = REQUIRED.iter().find(|(kind, _)| *kind == platform).unwrap();
            assert!(entity[required].is_string(), "{key}: {required}");
            assert_eq!(entity["unique_id"], format!("pochade_hall_{key}"));
        }
        insta::assert_snapshot!(serde_json::to_string_pretty(&payload).unwrap());
    }
}
