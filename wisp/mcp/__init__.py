"""``wisp mcp``: cutouts as tools of an agent, over the Model Context Protocol.

The server runs on the user's machine and speaks over standard input and output. Photos and
results stay files; only their paths, some facts and a small preview travel.
"""
