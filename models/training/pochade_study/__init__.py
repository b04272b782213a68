"""Small trainings side by side, for the questions that reading Rombach et al. (2022) leaves.

Each answers one question of `docs/latent-diffusion.md` in a few minutes of CPU time, on the
pictures of a finished run: `python -m pochade_study --help`.
"""
