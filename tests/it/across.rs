//! Deploys across hosts: an operator, nodes as processes of their own, a broker between them.

mod back;
mod broker;
mod clocks;
mod enemies;
mod fleet;
mod going;
mod killed;
mod late;
mod origins;
mod permissions;
mod phases;
mod stops;
mod taken;
mod whole;
