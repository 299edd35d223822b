// An OpenID Connect provider for one test: node-oidc-provider with its own forms,
// where whoever says a name is that person. The argument is the client's secret.
// It prints its port, reads where people are sent back to, and then answers.
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import Provider from 'oidc-provider'

const [secret] = process.argv.slice(2)
const server = createServer()
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address()
  console.log(`port ${port}`)
  createInterface({ input: process.stdin }).once('line', (redirect) => {
    const provider = new Provider(`http://127.0.0.1:${port}`, {
      clients: [{ client_id: 'selvedge', client_secret: secret, redirect_uris: [redirect] }],
      pkce: { required: () => true },
      conformIdTokenClaims: false,
      claims: { openid: ['sub'], email: ['email', 'email_verified'] },
      findAccount: (_, id) => ({
        accountId: id,
        claims: () => ({ sub: id, email: `${id.replace('unverified-', '')}@example.com`, email_verified: !id.startsWith('unverified-') }),
      }),
    })
    server.on('request', provider.callback())
    console.log('ready')
  })
})
process.stdin.on('end', () => process.exit(0))
