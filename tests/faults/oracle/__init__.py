"""Load clients and judges that share no code with the server: sockets, ssl, expat and the standard library only.

A defect of the server's protocol code can therefore not hide itself here. The clients run in processes of their own,
so that no fault of the server touches their logs (reliability.md, "The oracle").
"""
