// A SAML provider that signs everybody in as the one person it knows.
// usage: node saml.mjs PORT EXTERNAL CERTIFICATE KEY
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import samlp from 'samlp'

const [port, external, certificate, key] = process.argv.slice(2)
const acs = `${external}/saml/node-saml/acs`
const options = {
  issuer: 'urn:node-saml', cert: readFileSync(certificate), key: readFileSync(key), getPostURL: (_audience, _dom, _req, done) => done(null, acs),
  getUserFromRequest: () => ({ id: 'G-77', displayName: 'Ana Lima', name: { givenName: 'Ana', familyName: 'Lima' }, emails: [{ value: 'ana@acme.example' }], groups: ['ml'] }),
  destination: acs, recipient: acs, signatureAlgorithm: 'rsa-sha256', digestAlgorithm: 'sha256', lifetimeInSeconds: 300,
}
const handler = samlp.auth(options)
createServer((req, res) => {
  const url = new URL(req.url, `http://127.0.0.1:${port}`)
  req.query = Object.fromEntries(url.searchParams)
  req.body = {}
  req.originalUrl = req.url
  res.set = (name, value) => res.setHeader(name, value)
  res.status = (code) => { res.statusCode = code; return res }
  res.send = (text) => res.end(text)
  handler(req, res, (error) => { res.statusCode = 500; res.end(String(error)) })
}).listen(Number(port), '127.0.0.1', () => console.log('ready'))
