"""Where `uniwetok` meets the harness: adapters of the models, offered through entry points."""
