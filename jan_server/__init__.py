"""A local server that speaks the HTTP API of Jan and of OpenAI, over plain files.

The map, in reading order. Each layer imports only what stands above it here:

    errors ids amounts structs printable data_folder logs events gguf    leaves; then settings
    quantization                      how a file's numbers are packed, in words
    types/                            one file per resource: what is in it, what a request may say
    store/     the data folder        engines/     models: load, generate, close
    web/       Starlette without Jan  catalogue/   manifests of models that are known to run
    templates parameters              chat messages -> prompt; which value of a parameter wins
    downloads remote hardware models  getting a model; another server; the machine; which models
    aliases                           shorter names of models
    completions                       a chat, a text, an embedding: request -> prompt -> answer
    dialects                          other APIs than OpenAI's chat, in terms of it
    appending following               messages that are written together; thread.json follows them
    getting importing removing        a model comes; a file becomes one; one goes to the trash
    expiring                          the trash is emptied of what is over
    presence                          which servers run on a data folder
    runs                              a reply inside a thread, as OpenAI's Assistants API has it
    responses                         OpenAI's Responses, whose conversations are threads
    replying                          what a person writes into a thread's file is answered there
    representations                   a stored resource -> what goes over the wire
    services                          everything a route may use, opened and closed in order
    routes/                           the API as one table
    app server                        ASGI application, Hypercorn
    torture                           is anything lost when a server is killed?
    cli/                              the command line: one file per command
"""

__version__ = "0.1.0"
