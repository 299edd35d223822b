// Amazon SES and SNS as others have written them again for local use, for one test:
// aws-ses-v2-local, and the server of serverless-offline-sns. It prints their ports,
// and ends with its standard input.
import { once } from 'node:events'
import ses from 'aws-ses-v2-local'
import express from 'express'
import { SNSServer } from './node_modules/serverless-offline-sns/dist/sns-server.js'

const mail = await ses.default({ host: '127.0.0.1', port: 0 })
const app = express()
const messages = new SNSServer(() => {}, app, 'eu-central-1', '123456789012')
const server = app.listen(0, '127.0.0.1')
await once(server, 'listening')
console.log(`ports ${mail.address().port} ${server.address().port}`)
process.stdin.on('end', () => process.exit(0)).resume()
