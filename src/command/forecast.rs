//! What dispatch would make of alerts, without anybody being asked: for back-tests.

use rustc_hash::FxHashMap;

use super::{Effect, Event, Queue, Settings, desk::comes_back};
use crate::{
    model::{Order, OrderState, Text, Time, Transition, dispatch_id},
    store::Standing,
};

/// The dispatch queue with nobody in it: it decides, as the live one does, for which alerts somebody would be sent.
#[derive(Debug)]
pub struct Forecast {
    queue: Queue,
    /// Orders for the list only, which come back when their alert gets graver.
    listed: FxHashMap<Text, Order>,
}

impl Forecast {
    pub fn new(settings: Settings) -> Self {
        Self { queue: Queue::new(settings, Vec::new(), Standing::default()), listed: FxHashMap::default() }
    }

    /// Takes what became of an alert, in order of time; the order by which somebody would be sent, when this is what makes it.
    pub fn alert(&mut self, transition: &Transition, now: Time) -> Option<Order> {
        let alert = transition.alert();
        if alert.shadow {
            return None;
        }
        let id = dispatch_id(&alert.alert_id.0);
        match transition {
            Transition::Opened(_) => {
                let order = order_of(self.queue.apply(Event::Opened(alert), now), &id)?;
                if order.state != OrderState::Listed {
                    return Some(order);
                }
                self.listed.insert(id, order);
                None
            }
            Transition::Raised(_) => {
                let recalled = self.listed.get(&id).is_some_and(|order| comes_back(order, alert));
                if recalled && let Some(order) = self.listed.remove(&id) {
                    self.queue.recall(order, Vec::new());
                }
                let order = order_of(self.queue.apply(Event::Raised(alert), now), &id);
                order.filter(|_| recalled)
            }
            Transition::Cleared(_) => {
                self.queue.apply(Event::Ended(alert), now);
                None
            }
            Transition::Revised(_) => None,
            Transition::Withdrawn(alert) => {
                self.listed.remove(&id);
                self.queue.apply(Event::Withdrawn(alert), now);
                None
            }
        }
    }
}

/// The order of this id among what changed.
fn order_of(effects: Vec<Effect>, id: &str) -> Option<Order> {
    effects.into_iter().find_map(|effect| match effect {
        Effect::Order(order) if *order.dispatch_id == *id => Some(*order),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{command::tests::alert, model::Severity};

    /// Steps `O:id:severity` (opens) and `R:id:severity` (is raised), a minute apart; which of them make an order.
    fn sent(steps: &str) -> String {
        let mut forecast = Forecast::new(Settings::default());
        let start = Time::from_millis(1_772_373_600_000);
        let mut made = Vec::new();
        for (minute, step) in (0_i64..).zip(steps.split_whitespace()) {
            let parts: Vec<&str> = step.split(':').collect();
            let at = start.plus_ms(minute * 60_000);
            let alert = alert(parts[1], Severity::parse(parts[2]).expect("a severity"), at);
            let transition = match parts[0] {
                "O" => Transition::Opened(alert),
                "R" => Transition::Raised(alert),
                "S" => Transition::Opened(crate::model::Alert { shadow: true, ..alert }),
                "L" => {
                    let fired_at = at.plus_ms(-5 * 60_000);
                    Transition::Opened(crate::model::Alert { retrospective: true, fired_at, ..alert })
                }
                _ => Transition::Cleared(alert),
            };
            if let Some(order) = forecast.alert(&transition, at) {
                made.push(format!("{}:{}", order.alert_id, order.kind.map_or("-", crate::model::UnitKind::as_str)));
            }
        }
        made.join(" ")
    }

    #[test]
    fn orders_are_made_as_the_queue_makes_them() {
        for (steps, expected) in [
            ("O:a:major O:b:minor O:c:critical", "a:squad b:grid c:squad"),
            ("O:a:notice", ""),
            // A notice that gets graver, once; an order that is out already is no second one.
            ("O:a:notice R:a:major R:a:critical O:b:minor R:b:major", "a:squad b:grid"),
            ("S:a:critical L:b:critical C:c:major", ""),
            // Six about one vehicle within an hour are enough, but for the critical.
            (
                "O:a:major O:b:major O:c:major O:d:major O:e:major O:f:major O:g:major O:h:critical",
                "a:squad b:squad c:squad d:squad e:squad f:squad h:squad",
            ),
        ] {
            assert_eq!(sent(steps), expected, "{steps}");
        }
    }
}
