//! Taking over what a member of the fleet left behind when it went: its session is resumed in its name,
//! leaves the shared subscription, and every job in it is sent to the fleet anew.
//!
//! A job is acknowledged there after the broker has it again, so that nothing is lost if the heir goes
//! too. Should the member come back meanwhile, the broker ends this connection and gives the session,
//! with what is left of it, to its owner.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::time::timeout;

use super::link::{Link, News};

/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// After such a silence, nothing is left in a session.
const SILENCE: Duration = Duration::from_secs(2);

/// Hands on all jobs of the session that `options` name, and says how many.
///
/// # Errors
/// A sentence, when the connection broke or the broker did not take a job.
pub(super) async fn hand_on(
    options: MqttOptions,
    share: &str,
    jobs: &str,
) -> Result<usize, &'static str> {
    let mut link = Link::open(options, false);
    let handed = if resumed(&mut link).await? { drain(&mut link, share, jobs).await? } else { 0 };
    link.close().await;
    Ok(handed)
}

/// Whether the broker still has the session.
async fn resumed(link: &mut Link) -> Result<bool, &'static str> {
    match timeout(PATIENCE, link.news.recv()).await {
        Ok(Some(News::Up { resumed })) => Ok(resumed),
        _ => Err("the broker did not answer"),
    }
}

async fn drain(link: &mut Link, share: &str, jobs: &str) -> Result<usize, &'static str> {
    const BROKEN: &str = "the connection broke";
    // First, so that what is sent anew does not come back here.
    link.client.unsubscribe(share).await.map_err(|_| BROKEN)?;
    let (mut left, mut sent, mut handed) = (false, VecDeque::<Publish>::new(), 0);
    let mut early = Vec::new();
    loop {
        let patience = if left && sent.is_empty() { SILENCE } else { PATIENCE };
        let mut found = match timeout(patience, link.news.recv()).await {
            Err(_) if left && sent.is_empty() => return Ok(handed),
            Err(_) => return Err("the broker did not answer"),
            Ok(Some(News::Heard(message))) if message.topic == jobs.as_bytes() => vec![*message],
            Ok(Some(News::Unsubscribed)) => {
                left = true;
                std::mem::take(&mut early)
            }
            Ok(Some(News::Acknowledged { good: true })) => {
                // Brokers answer in the order in which they were sent to.
                if let Some(message) = sent.pop_front() {
                    link.client.ack(&message).await.map_err(|_| BROKEN)?;
                    handed += 1;
                }
                continue;
            }
            Ok(Some(News::Acknowledged { good: false })) => return Err("the broker took no job"),
            Ok(Some(News::Down) | None) => return Err(BROKEN),
            Ok(Some(_)) => continue,
        };
        if !left {
            early.append(&mut found);
        }
        for message in found {
            let payload = message.payload.clone();
            let published = link.client.publish(jobs, QoS::AtLeastOnce, false, payload);
            published.await.map_err(|_| BROKEN)?;
            sent.push_back(message);
        }
    }
}
