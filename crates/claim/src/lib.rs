//! Which agent decides which workload, and how two can never both write.
//!
//! There is no leader. An agent *claims* a workload by writing an epoch into a label of the object itself ([`epoch`]), and every write
//! of it `test`s that label in the API server's own transaction ([`guard`]): after another claim has been committed, nothing of
//! the one before can be. That holds under any pause, partition or skew, because no clock takes part in it.
//! Clocks and Leases ([`lease`]) only say when the dead may be succeeded, members and their preference ([`member`]) only who
//! should; both may be wrong without harm. [`claim::next`] is the protocol, one step at a time; [`answer`] says what an answer means.
//!
//! Nothing here waits, reads a clock or a network. Deliberately absent: messages between agents (they tell one another nothing but
//! through the API server), a queue of writes, a resumed claim (a claim ends with the watch, the lease or the process under which it was
//! made, and is made anew one number higher).

pub use claim::{Around, Cause, Memory, Seen, Step, Waiting, next};
pub use epoch::{AgentId, Epoch, Incarnation, Number};
pub use lease::{Standing, Tenure, Term};
pub use member::{Members, Node};
pub use unit::{Boot, Span};

pub mod answer;
pub mod claim;
pub mod epoch;
pub mod guard;
pub mod lease;
pub mod member;
pub mod unit;
