def draw(policies, gain, path): pass
