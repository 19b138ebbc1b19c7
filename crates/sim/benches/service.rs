//! Requests a second that are simulated: `cargo bench -p trimtab-sim`.

use divan::Bencher;
use divan::counter::ItemsCount;
use trimtab_core::unit::{RequestsPerSecond, Seconds};
use trimtab_sim::law::{Balancing, Law};
use trimtab_sim::service::Service;

fn main() {
    divan::main();
}

/// An hour at 86 % of what so many replicas serve, looked at every 5 s.
fn hour(bencher: Bencher<'_, '_>, replicas: u32, balancing: Balancing) {
    let rate = replicas * 43;
    bencher.counter(ItemsCount::new(rate as usize * 3_600)).bench(|| {
        let mut service = Service::new(Law { balancing, ..Law::benchmark(1) }, replicas as usize);
        for _ in 0..3_600 / 5 {
            service.advance(Seconds::whole(5), RequestsPerSecond::whole(rate));
        }
        service.largest_backlog()
    });
}

#[divan::bench(args = [4, 10, 30, 60], sample_count = 5)]
fn one_queue(bencher: Bencher<'_, '_>, replicas: u32) {
    hour(bencher, replicas, Balancing::OneQueue);
}

#[divan::bench(args = [10], sample_count = 5)]
fn least_outstanding(bencher: Bencher<'_, '_>, replicas: u32) {
    hour(bencher, replicas, Balancing::LeastOutstanding);
}

#[divan::bench(args = [10], sample_count = 5)]
fn random(bencher: Bencher<'_, '_>, replicas: u32) {
    hour(bencher, replicas, Balancing::Random);
}
