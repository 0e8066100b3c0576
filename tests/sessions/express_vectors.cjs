// Sessions that express-session and connect-redis store in the Redis at the given socket, each made
// by a request to a real Express. Prints one JSON object a line, as django_vectors.py does.

const fs = require("node:fs");
const path = require("node:path");
const express = require("express");
const session = require("express-session");
const { RedisStore } = require("connect-redis");
const { createClient } = require("redis");

const SECRET = "keyboard cat";
const packages = ["express", "express-session", "connect-redis"];
const version = (name) =>
    JSON.parse(fs.readFileSync(path.join(process.env.NODE_PATH, name, "package.json"))).version;
const from = packages.map((name) => `${name} ${version(name)}`).join(", ");
const sessions = [
    ["by passport", "passport.user", { passport: { user: "john" }, groups: ["chat", "staff"] }],
    ["by passport's number", "passport.user", { passport: { user: 42 } }],
    ["by itself", "user", { user: "jürgen 😀", groups: [] }],
    ["anonymous", "user", { views: 3 }],
];

async function main() {
    const client = createClient({ socket: { path: process.argv[2] } });
    await client.connect();
    const app = express();
    const store = new RedisStore({ client });
    app.use(session({ store, secret: SECRET, resave: false, saveUninitialized: false }));
    app.get("/:which", (request, response) => {
        Object.assign(request.session, sessions[request.params.which][2]);
        response.end();
    });
    const server = app.listen(0, "127.0.0.1");
    await new Promise((listening) => server.once("listening", listening));
    for (const [which, [name, userEntry, entries]] of sessions.entries()) {
        await client.flushAll();
        const response = await fetch(`http://127.0.0.1:${server.address().port}/${which}`);
        const [redisKey] = await client.keys("*");
        const user = entries.passport?.user ?? entries.user ?? null;
        console.log(
            JSON.stringify({
                from: `${from}: ${name}`,
                format: "express",
                secret: SECRET,
                cookie: response.headers.getSetCookie()[0].split(";")[0],
                key: redisKey.slice("sess:".length),
                redis_key: redisKey,
                stored: Buffer.from(await client.get(redisKey)).toString("base64"),
                user_entry: userEntry,
                groups_entry: "groups",
                user: user === null ? null : String(user),
                groups: entries.groups ?? [],
            }),
        );
    }
    server.close();
    server.closeAllConnections();
    client.destroy();
}

main();
