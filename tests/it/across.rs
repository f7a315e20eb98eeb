//! Deploys across hosts: an operator, nodes as processes of their own, a broker between them.

mod fleet;
mod going;
mod permissions;
mod stops;
mod whole;
