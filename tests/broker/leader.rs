//! Of several processes one leads: kills, freezes, cuts and ordered stops, on a real broker.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::client;
use crate::support::*;
use dormouse::config::{Config, Uri};
use dormouse_client::{ClientError, Leadership};
use tokio_util::sync::CancellationToken;

#[path = "../../examples/leader.rs"]
mod example;

/// What the candidates' processes have said: who closed the till, and with which token.
#[derive(Clone, Default)]
struct Tills(Arc<Mutex<Vec<(char, u64)>>>);

impl Tills {
    fn all(&self) -> Vec<(char, u64)> {
        self.0.lock().unwrap().clone()
    }

    /// The tokens that this one has had, in order.
    fn of(&self, name: char) -> Vec<u64> {
        let mut tokens: Vec<u64> =
            self.all().iter().filter(|(who, _)| *who == name).map(|(_, token)| *token).collect();
        tokens.dedup();
        tokens
    }

    /// Waits until this one leads with a larger token, and gives that.
    async fn led_by(&self, name: char, above: u64) -> u64 {
        until(&format!("{name} leads"), async || self.of(name).last() > Some(&above)).await;
        *self.of(name).last().unwrap()
    }
}

/// A candidate in a process of its own, which ends with the test.
struct Candidate(Child);

impl Candidate {
    fn start(broker: &Broker, name: char, tills: &Tills) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["leader::a_candidate_to_be_killed", "--exact", "--ignored", "--nocapture"])
            .env("DORMOUSE_TEST_CANDIDATE", broker.uri())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, tills) = (BufReader::new(child.stdout.take().unwrap()), tills.clone());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some((_, token)) = line.split_once("closed by ") {
                    tills.0.lock().unwrap().push((name, token.parse().unwrap()));
                }
            }
        });
        Self(child)
    }

    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Clone)]
struct Printed;

impl example::Till for Printed {
    fn close(&self, fence: u64) -> bool {
        println!("closed by {fence}");
        true
    }
}

/// Not a test: the process that [`Candidate::start`] starts.
#[tokio::test]
#[ignore = "started by other tests, to be killed"]
async fn a_candidate_to_be_killed() {
    let Ok(uri) = std::env::var("DORMOUSE_TEST_CANDIDATE") else { return };
    let mut config = Config::default();
    config.broker.uri = vec![Uri::new(uri)];
    config.broker.heartbeat = Duration::from_secs(1);
    let every = Duration::from_millis(50);
    example::run(config, Printed, every, CancellationToken::new()).await.unwrap();
    panic!("nobody has killed this process");
}

/// One that is killed, and one that is frozen for longer than RabbitMQ waits, are replaced; the one that thaws does
/// nothing more with its old token.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_or_frozen_is_replaced_and_tokens_grow() {
    let broker = Broker::fresh("leader").await;
    let tills = Tills::default();
    let mut first = Candidate::start(&broker, 'a', &tills);
    let a = tills.led_by('a', 0).await;
    let second = Candidate::start(&broker, 'b', &tills);
    let third = Candidate::start(&broker, 'c', &tills);
    // of a queue itself, RabbitMQ counts the active one only
    until("all are candidates", async || {
        broker.management.consumers(&broker.vhost).await.unwrap().len() == 3
    })
    .await;
    assert!(tills.all().iter().all(|(who, _)| *who == 'a'), "one leads");
    first.kill();
    until("another one leads", async || tills.all().last().unwrap().0 != 'a').await;
    let (mut leads, mut waits) = (('b', second), ('c', third));
    if tills.all().last().unwrap().0 == 'c' {
        std::mem::swap(&mut leads, &mut waits);
    }
    let b = tills.led_by(leads.0, a).await;
    leads.1.signal("STOP");
    let c = tills.led_by(waits.0, b).await;
    let before = tills.all().iter().filter(|(who, _)| *who == leads.0).count();
    leads.1.signal("CONT");
    waits.1.kill();
    let d = tills.led_by(leads.0, c).await;
    let mut closed = BTreeMap::<u64, usize>::new();
    for (_, token) in tills.all().iter().filter(|(who, _)| *who == leads.0).skip(before) {
        *closed.entry(*token).or_default() += 1;
    }
    // it may have been frozen in the middle of one
    assert!(closed.get(&b).is_none_or(|closed| *closed <= 1), "{closed:?}");
    assert!(a < b && b < c && c < d);
    drop(leads);
    broker.drop_it().await;
}

/// Starts a leader that notes its tokens until it is stopped.
fn lead(
    config: &Config,
    led: &Arc<Mutex<Vec<u64>>>,
    stop: &CancellationToken,
) -> tokio::task::JoinHandle<Result<Option<()>, ClientError>> {
    let (config, led, stop) = (config.clone(), led.clone(), stop.clone());
    tokio::spawn(async move {
        let leader = client(&config).await.leader("job").prove_every(Duration::from_millis(200));
        let work = |leadership: Leadership| {
            led.lock().unwrap().push(leadership.token());
            async move { leadership.ends().await }
        };
        leader.run(work, stop).await
    })
}

/// Its connections cut, again and again, and its queue deleted: it leads again, and tokens grow.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_grow_over_cut_connections_and_a_deleted_queue() {
    let broker = Broker::fresh("leader-cut").await;
    let (led, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
    let config = broker.config();
    let leads = async |times: usize| {
        until("it leads", async || led.lock().unwrap().len() >= times).await;
    };
    let running = lead(&config, &led, &stop);
    leads(1).await;
    let uri = format!("{}/api/connections", broker.management_uri);
    for times in 2..5 {
        until("the connection is cut", async || {
            cut(&uri, &broker.vhost, "dormouse leader dormouse.leader.job")
        })
        .await;
        leads(times).await;
    }
    let before = led.lock().unwrap().len();
    broker.management.delete_queue(&broker.vhost, "dormouse.leader.job").await.unwrap();
    leads(before + 1).await;
    stop.cancel();
    // it may have lost that one, too, and not lead now
    running.await.unwrap().unwrap();
    let led = led.lock().unwrap().clone();
    assert!(led.windows(2).all(|two| two[0] < two[1]), "{led:?}");
    broker.drop_it().await;
}

/// Ends the connections of this name; false if the management API knows of none yet.
fn cut(uri: &str, vhost: &str, name: &str) -> bool {
    let list = ureq::get(uri).call().unwrap().body_mut().read_to_string().unwrap();
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    let ours = list.iter().filter(|one| one["vhost"] == vhost && one["user_provided_name"] == name);
    let mut any = false;
    for one in ours {
        let path = one["name"].as_str().unwrap().replace(' ', "%20").replace('>', "%3E");
        any |= ureq::delete(&format!("{uri}/{path}")).call().is_ok();
    }
    any
}

/// An ordered stop ends the work before another one begins, and work that is done gives the leadership up.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_one_begins_when_the_work_has_ended() {
    let broker = Broker::fresh("leader-stop").await;
    let config = broker.config();
    let told = Arc::new(Mutex::new(Vec::new()));
    let stop = CancellationToken::new();
    let first = {
        let (told, stop) = (told.clone(), stop.clone());
        let leader = client(&config).await.leader("job");
        tokio::spawn(async move {
            let work = async |leadership: Leadership| {
                told.lock().unwrap().push("first");
                leadership.ends().await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                told.lock().unwrap().push("first is done");
                7
            };
            leader.run(work, stop).await
        })
    };
    until("the first leads", async || !told.lock().unwrap().is_empty()).await;
    let second = {
        let told = told.clone();
        let leader = client(&config).await.leader("job");
        tokio::spawn(async move {
            let work = async |_| told.lock().unwrap().push("second");
            leader.run(work, CancellationToken::new()).await
        })
    };
    stop.cancel();
    assert_eq!(first.await.unwrap().unwrap(), Some(7));
    assert_eq!(second.await.unwrap().unwrap(), Some(()), "it has nothing more to do");
    assert_eq!(*told.lock().unwrap(), ["first", "first is done", "second"]);
    broker.drop_it().await;
}

/// What cannot become a queue is said at once, and what stands there as something else is.
#[tokio::test]
async fn a_name_that_cannot_be_led_is_refused() {
    let broker = Broker::fresh("leader-name").await;
    let client = client(&broker.config()).await;
    let connection = broker.connect().await;
    queues(&connection, &["dormouse.leader.taken"]).await;
    for (name, problem) in [
        (String::new(), "a leader needs a name"),
        ("x".repeat(250), "AMQP allows 255"),
        ("taken".to_owned(), "other arguments"),
    ] {
        let refused = client.leader(name).run(async |_| (), CancellationToken::new()).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(problem), "{refused}");
    }
    broker.drop_it().await;
}
