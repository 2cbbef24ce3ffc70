"""DPG-Bench: does a generated picture hold what every sentence of a dense prompt says?"""
