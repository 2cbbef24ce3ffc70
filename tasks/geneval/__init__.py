"""GenEval: does a generated picture hold the objects, numbers, colours and places of its prompt?"""
