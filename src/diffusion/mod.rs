//! Noise schedules, samplers and guidance (section 3.2 and appendix B of the LDM paper).
