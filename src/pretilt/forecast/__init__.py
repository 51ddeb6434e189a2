"""What training on the pairs will do: predicted shifts of concepts, their uncertainty, and a fair test of them.

Pure functions over arrays: no models, no files. Sign: + = expressed more in chosen = will be amplified.
"""
