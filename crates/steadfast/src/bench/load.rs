//! Closed and open loops of requests.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tonic::Status;

use super::Settings;
use super::measured::Measured;
use super::side::Side;
use super::work::{Client, Work};
use crate::client::{in_words, read_error};

/// What is answered in this part of the time before is not counted.
const WARM_UP: f64 = 0.2;

/// After a failure a client waits so long before it asks again.
const PAUSE: Duration = Duration::from_millis(10);

/// No request may take longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// In an open loop no more requests are under way at a time; what finds no room has failed.
const UNDER_WAY: usize = 20_000;

/// From when until when is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) begin: Instant,
    pub(super) end: Instant,
}

impl Window {
    /// From soon on.
    pub(super) fn of(settings: &Settings) -> Self {
        let begin = Instant::now() + settings.duration.mul_f64(WARM_UP);
        Window { begin, end: begin + settings.duration }
    }
}

/// Each client asks again when it is answered.
pub(super) async fn closed(side: &Side, work: Work, clients: usize, settings: &Settings) -> Result<Measured> {
    let clients = begin(side, work, clients, settings).await?;
    let window = Window::of(settings);
    let mut tasks: JoinSet<(Client, Measured)> = clients.into_iter().map(|client| ask_on(client, window)).collect();
    let mut all = Measured::over(settings.duration);
    let mut ended = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (client, measured) = done?;
        all.add_all(&measured);
        ended.push(client);
    }
    end(ended).await?;
    Ok(all)
}

async fn ask_on(mut client: Client, window: Window) -> (Client, Measured) {
    let mut measured = Measured::new();
    loop {
        let began = Instant::now();
        if began >= window.end {
            return (client, measured);
        }
        let answer = ask(&mut client, began + PATIENCE).await;
        let now = Instant::now();
        let counts = now >= window.begin && now < window.end;
        match answer {
            Ok(()) if counts => measured.add(now - began),
            Ok(()) => {}
            Err(status) => {
                if counts {
                    measured.fail(|| in_words(&status));
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Each request is sent at its time, whatever became of those before.
pub(super) async fn open(side: &Side, work: Work, clients: usize, rate: u64, settings: &Settings) -> Result<Measured> {
    let clients = begin(side, work, clients, settings).await?;
    let window = Window::of(settings);
    let start = Instant::now();
    let mut all = Measured::over(settings.duration);
    let mut under_way: JoinSet<(Instant, Result<Duration, Status>)> = JoinSet::new();
    let count = |all: &mut Measured, (scheduled, took): (Instant, Result<Duration, Status>)| match took {
        _ if scheduled < window.begin => {}
        Ok(took) => all.add(took),
        Err(status) => all.fail(|| in_words(&status)),
    };
    for number in 0_u64.. {
        let scheduled = start + Duration::from_secs_f64(number as f64 / rate as f64);
        if scheduled >= window.end {
            break;
        }
        sleep_until(scheduled).await;
        while let Some(done) = under_way.try_join_next() {
            count(&mut all, done?);
        }
        match clients[number as usize % clients.len()].again() {
            Some(mut client) if under_way.len() < UNDER_WAY => {
                under_way.spawn(async move {
                    let answer = ask(&mut client, scheduled + PATIENCE).await;
                    (scheduled, answer.map(|()| scheduled.elapsed()))
                });
            }
            _ => count(&mut all, (scheduled, Err(Status::resource_exhausted("too many requests are under way")))),
        }
    }
    while let Some(done) = under_way.join_next().await {
        count(&mut all, done?);
    }
    end(clients).await?;
    Ok(all)
}

async fn ask(client: &mut Client, deadline: Instant) -> Result<(), Status> {
    timeout_at(deadline, client.ask()).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}

async fn begin(side: &Side, work: Work, clients: usize, settings: &Settings) -> Result<Vec<Client>> {
    let mut all = Vec::with_capacity(clients);
    for number in 0..clients {
        all.push(work.client(side.link(number), settings).await.map_err(read_error)?);
    }
    Ok(all)
}

async fn end(clients: Vec<Client>) -> Result<()> {
    for client in clients {
        client.end().await.map_err(read_error)?;
    }
    Ok(())
}
