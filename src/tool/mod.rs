//! L4: the tools of the command line: commands that publish and listen, and the load tool.

pub mod cli;
pub mod stress;
